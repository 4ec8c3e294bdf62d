"""A forward pass of one convolution, which every engine converts in little time."""

import pytest
import torch
from torch import nn

from cxr_ray.models.engines.engine import ForwardPass


class SmallNetwork(nn.Module):
    """uint8 [N, S, S] -> probabilities of two classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.conv(pixels.unsqueeze(1).float() / 64 - 1).relu().mean((2, 3))
        return (4 * self.head(features)).softmax(1)


@pytest.fixture
def small_forward(tmp_path, monkeypatch):
    """A forward pass, with a cache of converted models of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ForwardPass(name="small", identity="small", image_size=16, build=lambda: SmallNetwork().eval())


@pytest.fixture(scope="session")
def small_int8():
    """The int8 network of `SmallNetwork`."""
    from cxr_ray.models.engines.agreement import check_pixels
    from cxr_ray.models.engines.quantize import quantize

    forward = ForwardPass(name="small", identity="small", image_size=16, build=lambda: SmallNetwork().eval())
    return quantize(forward, check_pixels(16))
