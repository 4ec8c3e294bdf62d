import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cxr_ray.probing.linear_probe import STRENGTHS, fit_probe


def drawn(classes, *, images=150, features=12, distance=1.0, seed=0):
    """Embeddings of very different scales, and one constant feature."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, images)
    centres = distance * random.normal(size=(classes, features))
    vectors = (centres[truth] + random.normal(size=(images, features))) * 10.0 ** np.linspace(-2, 2, features) + 5
    vectors[:, 3] = 7
    return vectors.astype(np.float32), truth


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("balanced", [True, False])
def test_the_layer_gives_the_probabilities_of_scikit_learn_on_scaled_embeddings(classes, balanced):
    vectors, truth = drawn(classes)
    probe = fit_probe(vectors, truth, np.arange(150), classes=classes, balanced=balanced, seed=0)
    scaled = StandardScaler().fit_transform(vectors)
    weight = "balanced" if balanced else None
    model = LogisticRegression(C=probe.strength, class_weight=weight, tol=1e-6, max_iter=2000).fit(scaled, truth)
    logits = probe.logits(vectors)
    found = np.exp(logits - logits.max(1, keepdims=True))
    found /= found.sum(1, keepdims=True)
    np.testing.assert_allclose(found, model.predict_proba(scaled), atol=0.02)
    assert probe.weights.shape == (classes, 12)


def test_noise_is_punished_more_than_what_tells_classes_apart():
    noise, truth = drawn(3, features=100, distance=0.0)
    clear, _ = drawn(3, features=100, distance=1.0)
    options = {"classes": 3, "balanced": True, "seed": 0}
    strong = fit_probe(noise, truth, np.arange(150), **options).strength
    weak = fit_probe(clear, truth, np.arange(150), **options).strength
    assert STRENGTHS[0] <= strong < weak


def test_the_strength_is_chosen_by_patients_and_not_by_images():
    """Images of a patient are equal: who is judged by the own patient would trust in what tells patients apart."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 8)
    truth = groups % 2
    vectors = (random.normal(size=(30, 60))[groups] + 0.01 * random.normal(size=(240, 60))).astype(np.float32)
    options = {"classes": 2, "balanced": True, "seed": 0}
    by_patient = fit_probe(vectors, truth, groups, **options).strength
    by_image = fit_probe(vectors, truth, np.arange(240), **options).strength
    assert by_patient < by_image / 10


def test_rare_classes_count_equally_if_balanced():
    vectors, truth = drawn(2, images=600, distance=0.5)
    kept = (truth == 0) | (np.arange(600) % 10 == 0)
    vectors, truth = vectors[kept], truth[kept]
    shares = [
        (
            fit_probe(vectors, truth, np.arange(len(truth)), classes=2, balanced=b, seed=0).logits(vectors).argmax(1)
            == 1
        ).mean()
        for b in (True, False)
    ]
    assert shares[0] > 2 * shares[1]
