import numpy as np
import torch
from torch.nn import functional

from cxr_ray.training.classifier.losses import masked_binary_cross_entropy

ONES = torch.ones(2, 3)


def case(missing=True):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=generator, requires_grad=True)
    truth = torch.rand(4, 3, generator=generator).round()
    if missing:
        truth[0, 1] = truth[2, 0] = truth[3, 0] = torch.nan
    return logits, truth


def test_without_missing_labels_it_is_the_loss_of_torch():
    logits, truth = case(missing=False)
    torch.testing.assert_close(
        masked_binary_cross_entropy(logits, truth, ONES, 0.0),
        functional.binary_cross_entropy_with_logits(logits, truth),
    )


def test_missing_labels_neither_count_nor_have_a_gradient():
    logits, truth = case()
    known = ~truth.isnan()
    loss = masked_binary_cross_entropy(logits, truth, ONES, 0.0)
    expected = functional.binary_cross_entropy_with_logits(logits[known], truth[known])
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).all()


def test_weights_are_of_absence_and_presence_of_each_finding():
    logits, truth = case()
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    losses = functional.binary_cross_entropy_with_logits(logits, truth.nan_to_num(), reduction="none")
    expected, count = 0.0, 0
    for i, k in np.ndindex(4, 3):
        if not truth[i, k].isnan():
            expected += losses[i, k] * weights[int(truth[i, k]), k]
            count += 1
    torch.testing.assert_close(masked_binary_cross_entropy(logits, truth, weights, 0.0), expected / count)


def test_smoothing_spreads_the_target_over_both_outcomes():
    logits, truth = case(missing=False)
    smoothed = functional.binary_cross_entropy_with_logits(logits, truth * 0.8 + 0.1)
    torch.testing.assert_close(masked_binary_cross_entropy(logits, truth, ONES, 0.2), smoothed)


def test_a_batch_without_a_known_label_has_no_gradient():
    logits, truth = case()
    loss = masked_binary_cross_entropy(logits, torch.full_like(truth, torch.nan), ONES, 0.1)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()
