"""Fixtures for tests of models: bundles with random weights, smooth images, and a network of one convolution."""

import numpy as np
import pytest
import torch
from torch import nn

from cxr_ray.models.engines.engine import ForwardPass

LABELS = ("COVID", "Lung_Opacity", "Normal", "Viral_Pneumonia")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Run torch in one thread: tiny models gain nothing from threads, which wait for each other on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def save_random():
    """Function that saves a bundle with random weights at a URI and returns its card."""

    def save(uri, *, seed=0, spread=False, **card):
        import torch

        from cxr_ray.models.backbones import build_backbone
        from cxr_ray.models.bundle import ModelCard, save_bundle

        card_type = card.pop("card_type", ModelCard)
        card = {"kind": card_type.kind, "backbone": "efficientnet_b0", "labels": LABELS, "image_size": 64} | card
        torch.manual_seed(seed)
        model = build_backbone(card["backbone"], num_classes=len(card["labels"]), image_size=card["image_size"])
        if spread:
            _spread_activations(model, card["image_size"])
        return save_bundle(str(uri), model.state_dict(), card_type, **card)

    return save


def _spread_activations(model, image_size):
    """Take the statistics of batch norms from images, because untrained ones give all images the same logits."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    coarse = torch.randn(16, 1, 6, 6)
    images = torch.nn.functional.interpolate(coarse, size=image_size, mode="bilinear").expand(-1, 3, -1, -1)
    with torch.no_grad():
        model.train()(images)


@pytest.fixture(scope="session")
def bundle_uri(save_random, tmp_path_factory):
    """URI of a bundle that no test may change; its backbone is small and tells images apart without training."""
    folder = tmp_path_factory.mktemp("bundle")
    save_random(folder, backbone="densenet121", spread=True)
    return str(folder)


@pytest.fixture(scope="session")
def radiographs():
    """Twelve smooth, different images uint8 [72, 80]."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:72, 0:80]
    waves = [np.sin(y / a + p) * np.cos(x / b) for a, b, p in rng.uniform(3, 25, (12, 3))]
    return [np.rint(127 + 110 * wave + rng.normal(0, 4, wave.shape)).clip(0, 255).astype(np.uint8) for wave in waves]


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
