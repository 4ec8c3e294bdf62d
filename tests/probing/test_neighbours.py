import numpy as np

from cxr_ray.probing.neighbours import neighbour_probabilities

RANDOM = np.random.default_rng(0)
TRUTH = np.array([0] * 20 + [1] * 5)
TRAIN = (np.eye(2)[TRUTH] @ [[9, 0, 1], [0, 9, 1]] + RANDOM.normal(size=(25, 3))).astype(np.float32)


def test_votes_are_those_of_the_nearest_images():
    votes = neighbour_probabilities(TRAIN, TRUTH, TRAIN, classes=3, balanced=False)
    assert list(votes) == [1, 3, 5, 10, 20]
    np.testing.assert_array_equal(votes[1], np.eye(3)[TRUTH])
    for shares in votes.values():
        np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_array_equal(votes[20][20:].argmax(1), 0)  # fifteen others outvote the five of the rare class


def test_a_vote_of_a_rare_class_weighs_more_if_balanced():
    votes = neighbour_probabilities(TRAIN, TRUTH, TRAIN[20:], classes=2, balanced=True)
    np.testing.assert_allclose(votes[20], np.tile([15 / 20, 5 / 5], (5, 1)) / 1.75)


def test_there_are_no_more_neighbours_than_images():
    votes = neighbour_probabilities(TRAIN[:4], TRUTH[:4], TRAIN, classes=2, balanced=True)
    assert list(votes) == [1, 3]
