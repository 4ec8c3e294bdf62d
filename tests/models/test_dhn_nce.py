"""The DHN-NCE loss equals the formula of the paper and pushes harder negatives away harder."""

import math

import pytest
import torch

from cxr_ray.models.dhn_nce import dhn_nce_loss


def pairs(count=6, width=8, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(2, count, width, generator=generator, dtype=dtype)
    return torch.nn.functional.normalize(both, dim=-1).unbind()


def naive(images, texts, tau, beta1, beta2, same=()):
    """Loss by the formula, term by term; pairs in `same` are not negatives of each other."""
    count = len(images)
    logits = [[float(v @ t) / tau for t in texts] for v in images]

    def half(logit, beta):
        total = 0.0
        for i in range(count):
            negatives = [j for j in range(count) if j != i and {i, j} not in same]
            norm = sum(math.exp(beta * logit(i, k)) for k in negatives)
            weights = {j: len(negatives) * math.exp(beta * logit(i, j)) / norm for j in negatives}
            total += -logit(i, i) + math.log(sum(weights[j] * math.exp(logit(i, j)) for j in negatives))
        return total / count

    return half(lambda i, j: logits[i][j], beta1) + half(lambda i, j: logits[j][i], beta2)


@pytest.mark.parametrize(("tau", "beta1", "beta2"), [(0.6, 0.15, 0.15), (0.6, 0, 0), (1.0, 0.5, 1.5), (0.07, 0.3, 0.1)])
def test_equals_a_naive_double_loop(tau, beta1, beta2):
    loss = dhn_nce_loss(*pairs(), tau=tau, beta1=beta1, beta2=beta2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive(*pairs(), tau, beta1, beta2), abs=1e-4)


def test_its_defaults_are_the_published_settings():
    assert dhn_nce_loss(*pairs()).item() == pytest.approx(naive(*pairs(), 0.6, 0.15, 0.15), abs=1e-5)


def gradient_by_cosine(images, texts, **settings):
    """Cosines [B, B] and the gradient of the loss by them; with the identity as texts, features are cosines."""
    cosines = (images @ texts.T).requires_grad_()
    loss = dhn_nce_loss(cosines, torch.eye(len(cosines)), **settings)
    return cosines, torch.autograd.grad(loss, cosines)[0]


@pytest.mark.parametrize("seed", range(5))
def test_every_negative_is_pushed_away_and_a_harder_one_harder(seed):
    cosines, gradient = gradient_by_cosine(*pairs(seed=seed, width=32))
    negatives = ~torch.eye(len(cosines), dtype=torch.bool)
    assert (gradient[negatives] > 0).all()
    assert (gradient.diagonal() < 0).all()


def test_pushes_rise_with_the_cosine():
    cosines = torch.linspace(-0.5, 0.5, 6).expand(6, -1)  # equal within a column, so that only rows matter
    _, gradient = gradient_by_cosine(cosines.contiguous(), torch.eye(6), beta1=0.5, beta2=0.0)
    for i, pushes in enumerate(gradient):
        assert (pushes[torch.arange(6) != i].diff() > 0).all()


def test_hardness_moves_the_push_to_the_hardest_negative():
    cosines = torch.tensor([[0.9, 0.4, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]])
    gaps = []
    for beta in (0.0, 0.15, 0.5):
        _, gradient = gradient_by_cosine(cosines, torch.eye(3), beta1=beta, beta2=beta)
        gaps.append((gradient[0, 1] - gradient[0, 2]).item())
    assert gaps == sorted(gaps)
    assert gaps[0] > 0


def test_positives_are_left_out_of_the_denominators():
    """The loss is decoupled: the pull on a positive does not fade when its cosine is high."""
    loose, won = torch.eye(4) * 0.1, torch.eye(4)
    pulls = [gradient_by_cosine(cosines, torch.eye(4))[1].diagonal() for cosines in (loose, won)]
    torch.testing.assert_close(pulls[0], torch.full((4,), -2 / 4 / 0.6))
    torch.testing.assert_close(*pulls)


def test_gradients_are_those_of_the_finite_differences():
    images, texts = (features.requires_grad_() for features in pairs(count=4, width=3, dtype=torch.float64))
    assert torch.autograd.gradcheck(dhn_nce_loss, (images, texts))


def test_stays_finite_at_a_tiny_temperature_and_in_half_precision():
    images, texts = (features.bfloat16().requires_grad_() for features in pairs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dhn_nce_loss(images, texts, tau=1e-3)
    loss.backward()
    assert loss.isfinite()
    assert images.grad.isfinite().all()
    exact = dhn_nce_loss(images.float(), texts.float(), tau=1e-3)
    torch.testing.assert_close(loss, exact)


@pytest.mark.parametrize(
    ("images", "texts", "message"),
    [
        (torch.ones(1, 4), torch.ones(1, 4), "needs a batch of >= 2 pairs to have negatives; got 1"),
        (torch.ones(2, 4), torch.ones(3, 4), r"must both be \[B, D\]; got \[2, 4\] and \[3, 4\]"),
    ],
)
def test_features_that_are_not_a_batch_of_pairs_are_refused(images, texts, message):
    with pytest.raises(ValueError, match=message):
        dhn_nce_loss(images, texts)


def same_of(numbers):
    return torch.tensor(numbers).unsqueeze(0) == torch.tensor(numbers).unsqueeze(1)


def test_pairs_that_are_the_same_are_not_negatives():
    loss = dhn_nce_loss(*pairs(), same=same_of([0, 1, 0, 2, 3, 4]))
    assert loss.item() == pytest.approx(naive(*pairs(), 0.6, 0.15, 0.15, same=[{0, 2}]), abs=1e-5)
    assert dhn_nce_loss(*pairs(), same=same_of([*range(6)])).item() == pytest.approx(dhn_nce_loss(*pairs()).item())


def test_a_pair_without_negatives_is_only_pulled_to_its_positive():
    images, texts = (features.requires_grad_() for features in pairs(count=3))
    loss = dhn_nce_loss(images, texts, same=torch.ones(3, 3, dtype=torch.bool))
    expected = -2 * (images * texts).sum(1).mean() / 0.6
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, images), torch.autograd.grad(expected, images))
