import numpy as np
import pytest
import torch
from torch.nn import functional

from cxr_ray.training.learning_rate import cyclic_fraction
from cxr_ray.training.segmenter.mask_loss import DiceCrossEntropy, soft_dice_loss
from cxr_ray.training.segmenter.validation import SegmentedShard, dice_coefficients, mask_metrics


@pytest.fixture
def logits():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def truth():
    return (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def expected_losses(logits, truth):
    p = logits.sigmoid()
    dice = 1 - (2 * (p * truth).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    crossed = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
    return dice + crossed


def test_one_output(logits, truth):
    torch.testing.assert_close(DiceCrossEntropy()(logits, truth), expected_losses(logits, truth).mean())


def test_outputs_of_deep_supervision_weigh_half_as_much_each(logits, truth):
    outputs = torch.stack([logits, 2 * logits, -logits], 1)
    expected = sum(w * expected_losses(k * logits, truth).mean() for w, k in ((4, 1), (2, 2), (1, -1))) / 7
    torch.testing.assert_close(DiceCrossEntropy()(outputs, truth), expected)


def test_images_count_by_their_weights_whatever_else_is_in_the_batch(logits, truth):
    weights = torch.tensor([1.0, 0.25, 0.0])
    expected = (expected_losses(logits, truth) * weights).sum() / 3
    torch.testing.assert_close(DiceCrossEntropy()(logits, truth, weights), expected)
    alone = DiceCrossEntropy()(logits[1:2], truth[1:2], weights[1:2])
    torch.testing.assert_close(alone, expected_losses(logits, truth)[1] * 0.25)


def test_half_covered_pixels_are_learned_as_halves():
    covered = torch.tensor([0.0, 0.5, 1.0, 1.0]).view(1, 1, 2, 2)

    def loss(rim):
        probability = torch.tensor([1e-4, rim, 1 - 1e-4, 1 - 1e-4]).view(1, 1, 2, 2)
        return float(DiceCrossEntropy()(probability.logit(), covered))

    rims = [0.05, 0.3, 0.5, 0.7, 0.95]
    assert min(rims, key=loss) == 0.5
    assert loss(0.3) == pytest.approx(loss(0.7), rel=0.1), "the loss is symmetric about one half"


def published_dice(probabilities, truth):
    """Compute DML1 of Wang et al. (arXiv 2303.16296), with 1 added to numerator and denominator, in double precision."""
    together = apart = 0.0
    for p, t in zip(probabilities.ravel().tolist(), truth.ravel().tolist(), strict=True):
        together += abs(p + t)
        apart += abs(p - t)
    return 1 - (together - apart + 1) / (together + 1)


@pytest.mark.parametrize("kind", ["soft", "hard", "empty", "full"])
def test_dice_is_the_published_semimetric_image_by_image(kind):
    rng = np.random.default_rng(4)
    probabilities, soft = rng.random((3, 1, 9, 7)), rng.random((3, 1, 9, 7))
    truth = {"soft": soft, "hard": np.round(soft), "empty": np.zeros_like(soft), "full": np.ones_like(soft)}[kind]
    found = soft_dice_loss(torch.tensor(probabilities).float(), torch.tensor(truth).float())
    expected = [published_dice(p, t) for p, t in zip(probabilities, truth, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_dice_is_zero_for_equal_soft_masks_only():
    soft = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    assert soft_dice_loss(soft, soft).tolist() == [0, 0]
    assert soft_dice_loss(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)).tolist() == [0]
    assert all(loss > 0 for loss in soft_dice_loss(soft.round(), soft).tolist())


def test_the_rate_falls_to_nothing_in_every_cycle():
    fractions = [cyclic_fraction(step / 300, 3, 0.1) for step in range(300)]
    assert fractions[0] < 0.05, "the first cycle warms up"
    assert fractions[100] == fractions[200] == pytest.approx(1.0)
    assert max(fractions[99], fractions[199], fractions[299]) < 1e-3
    assert fractions[10] == pytest.approx(1.0)


def test_metrics_are_of_every_image_once_whatever_the_workers():
    whole = SegmentedShard(
        positions=torch.arange(4).numpy(), losses=torch.arange(4.0).numpy(), dsc=torch.ones(4).numpy()
    )
    parts = [
        SegmentedShard(positions=whole.positions[i::2], losses=whole.losses[i::2], dsc=whole.dsc[i::2])
        for i in range(2)
    ]
    assert mask_metrics([whole], 4) == mask_metrics(parts[::-1], 4) == {"val_loss": 1.5, "val_dsc": 1.0}
    with pytest.raises(ValueError, match="2 images were validated, the split has 4"):
        mask_metrics(parts[:1], 4)


def test_dice_coefficients_of_empty_and_other_masks():
    a = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()
    b = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).bool()
    assert dice_coefficients(a, b).tolist() == [0.5, 1.0, 0.0]
