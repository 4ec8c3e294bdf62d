import numpy as np

from cxr_ray.probing.diverse_images import diverse, uncertain_and_diverse

RANDOM = np.random.default_rng(0)
CENTRES = 100 * np.eye(5, 8)
CLUSTER = np.repeat(np.arange(5), [200, 50, 20, 10, 4])
VECTORS = (CENTRES[CLUSTER] + 0.1 * RANDOM.normal(size=(284, 8))).astype(np.float32)


def test_images_of_every_cluster_are_chosen_however_small_it_is():
    chosen = diverse(VECTORS, VECTORS[:0], count=5, seed=0)
    assert sorted(CLUSTER[chosen].tolist()) == [0, 1, 2, 3, 4]
    assert chosen == diverse(VECTORS, VECTORS[:0], count=5, seed=0)


def test_what_is_labelled_counts_as_chosen():
    known = VECTORS[CLUSTER != 3]
    assert CLUSTER[diverse(VECTORS, known, count=1, seed=0)].tolist() == [3]


def test_distances_of_gradients_are_those_of_outer_products():
    """The first two choices, against gradients that are written out."""
    probabilities = RANDOM.dirichlet([0.5] * 3, size=284)
    errors = probabilities - np.eye(3)[probabilities.argmax(1)]
    gradients = (errors[:, :, None] * VECTORS[:, None, :]).reshape(284, -1)
    chosen = uncertain_and_diverse(VECTORS, probabilities, count=284, seed=0)
    assert chosen[0] == (gradients**2).sum(1).argmax()
    weights = ((gradients - gradients[chosen[0]]) ** 2).sum(1)
    nearest = np.minimum((gradients**2).sum(1), weights)
    nearest[chosen[0]] = 0
    drawn = int(np.random.default_rng(0).choice(284, p=nearest / nearest.sum()))
    assert chosen[1] == drawn
    assert len(chosen) == len(set(chosen))


def test_a_sure_image_is_not_chosen_and_an_unsure_one_is():
    sure, unsure = np.array([0.999, 0.001]), np.array([0.5, 0.5])
    is_unsure = np.arange(284) % 7 == 0
    spread = (VECTORS + 20 * RANDOM.normal(size=VECTORS.shape)).astype(np.float32)
    chosen = uncertain_and_diverse(spread, np.where(is_unsure[:, None], unsure, sure), count=20, seed=0)
    assert is_unsure[chosen].all()
    assert len(set(CLUSTER[chosen])) >= 4


def test_copies_are_chosen_once():
    copies = np.repeat(VECTORS[[0, 200, 250]], 10, axis=0)
    assert len(diverse(copies, copies[:0], count=30, seed=0)) == 3
    probabilities = np.tile([0.6, 0.4], (30, 1))
    assert len(uncertain_and_diverse(copies, probabilities, count=30, seed=0)) == 3
