"""What prepares pixels and reads logits; the networks between are tested with the classifier and the segmenter."""

import math

import pytest
import torch

from cxr_ray.models.pixel_networks import zoomed
from cxr_ray.models.task import OneClass


@pytest.mark.parametrize("logit", [-200.0, -3.0, 0.0, 200.0])
def test_probabilities_of_one_output(logit):
    assert OneClass.probabilities(torch.tensor([[logit]])).item() == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)


def test_zooming_out_and_in_again_keeps_what_lies_inside():
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    planes = torch.exp(-((rows - 16) ** 2 + (columns - 14) ** 2) / 60)[None, None]
    small = zoomed(planes, 0.75)
    assert small[..., :3, :].abs().max() == 0
    assert (zoomed(small, 1 / 0.75) - planes).abs().max() < 0.05
    assert zoomed(planes, 1) is planes
