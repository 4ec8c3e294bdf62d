"""Maps of a batch equal those of the published method image by image, and do not depend on other images."""

import pytest
import torch

from cxr_ray.benchmarks.plain_saliency import plain_saliency
from cxr_ray.errors import ConfigError
from cxr_ray.models import noise
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig
from cxr_ray.models.m2ib import M2ib
from cxr_ray.models.noise import noise_generator

TINY = BiomedClipConfig(
    vision_hidden=64,
    vision_layers=4,
    vision_heads=2,
    vision_mlp=96,
    image_size=64,
    patch_size=16,
    text_hidden=64,
    text_layers=2,
    text_heads=2,
    text_mlp=96,
    vocab_size=40,
    text_positions=24,
    context=16,
    projection=32,
    text_projection_hidden=48,
)
IDS = [f"image-{i}" for i in range(5)]
TOKENS = torch.tensor([[2, 5, 6, 3], [2, 8, 3, 0], [2, 9, 3, 0], [2, 10, 11, 3], [2, 12, 3, 0]])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = BiomedClip(TINY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def texts(model):
    with torch.inference_mode():  # callers may use this mode, whose tensors autograd refuses
        return model.encode_text(TOKENS)


@pytest.mark.parametrize(("layer", "beta"), [(0, 0.1), (2, 1.0), (3, 2.0)])
@pytest.mark.slow
def test_a_batch_equals_the_published_method_image_by_image(layer, beta, model, pixels, texts):
    maps = M2ib(model, layer=layer, precision="fp32").saliency(pixels, texts, IDS, beta=beta, size=64)
    model.requires_grad_(True)  # the published code does not freeze weights
    for i, image_id in enumerate(IDS):
        expected = plain_saliency(model, pixels[i], TOKENS[i], image_id, layer=layer, beta=beta, size=64)
        torch.testing.assert_close(maps[i], expected, atol=1e-4, rtol=0)


def test_maps_span_0_to_1_and_differ_between_images_and_texts(model, pixels, texts):
    maps = M2ib(model, layer=1).saliency(pixels[[0, 0, 1]], texts[[0, 1, 1]], [IDS[0], IDS[0], IDS[1]])
    assert maps.shape == (3, 224, 224)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps.amin((1, 2)), torch.zeros(3))
    torch.testing.assert_close(maps.amax((1, 2)), torch.ones(3))
    assert (maps[0] - maps[1]).abs().max() > 0.01
    assert (maps[1] - maps[2]).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("max_rows", [1, 6, 10, 1000])
def test_maps_depend_neither_on_batch_size_nor_on_order(max_rows, model, pixels, texts):
    saliency = M2ib(model, layer=1, draws=3, precision="fp32").saliency
    alone = torch.cat([saliency(pixels[[i]], texts[[i]], [IDS[i]]) for i in range(5)])
    order = [3, 0, 4, 2, 1]
    shuffled = M2ib(model, layer=1, draws=3, precision="fp32", max_rows=max_rows).saliency(
        pixels[order], texts[order], [IDS[i] for i in order]
    )
    torch.testing.assert_close(shuffled, alone[order], atol=1e-4, rtol=0)


def test_noise_depends_on_the_id_and_the_seed(model, pixels, texts):
    maps = {
        (image_id, seed): M2ib(model, layer=1, seed=seed, draws=2).saliency(pixels[:1], texts[:1], [image_id])
        for image_id, seed in (("a", 0), ("b", 0), ("a", 1))
    }
    again = M2ib(model, layer=1, seed=0, draws=2).saliency(pixels[:1], texts[:1], ["a"])
    torch.testing.assert_close(again, maps["a", 0], atol=0, rtol=0)
    assert (maps["b", 0] - maps["a", 0]).abs().max() > 1e-3
    assert (maps["a", 1] - maps["a", 0]).abs().max() > 1e-3
    torch.manual_seed(99)
    draw = torch.randn(3, generator=noise_generator("a", 0))
    torch.testing.assert_close(draw, torch.randn(3, generator=noise_generator("a", 0)), atol=0, rtol=0)


def test_a_sweep_of_beta_is_a_batch(model, pixels, texts):
    betas = torch.tensor([0.1, 1.0, 2.0])
    saliency = M2ib(model, layer=1, precision="fp32").saliency
    swept = saliency(pixels[[0, 0, 0]], texts[0], [IDS[0]] * 3, beta=betas)
    one_by_one = [saliency(pixels[:1], texts[:1], IDS[:1], beta=beta.item()) for beta in betas]
    torch.testing.assert_close(swept, torch.cat(one_by_one), atol=1e-4, rtol=0)
    assert (swept[0] - swept[2]).abs().max() > 0.01


@pytest.mark.slow
def test_bf16_gives_nearly_the_map_of_fp32(model, pixels, texts):
    maps = [
        M2ib(model, layer=1, precision=precision).saliency(pixels, texts, IDS, size=4) for precision in ("fp32", "bf16")
    ]
    for one, other in zip(*maps, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.95


def test_weights_stay_as_they_are_without_gradients(pixels, texts):
    model = BiomedClip(TINY)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():  # the fit needs gradients whatever mode the caller is in
        M2ib(model, layer=1, steps=2, draws=1).saliency(pixels, texts, IDS)
    assert not model.training
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        torch.testing.assert_close(parameter.detach(), before[name], atol=0, rtol=0)


def test_runs_inside_inference_mode(model, pixels, texts):
    bottleneck = M2ib(model, layer=1, draws=2)
    with torch.inference_mode():
        inside = bottleneck.saliency(pixels.clone(), texts, IDS, beta=torch.full((5,), 0.1))
    torch.testing.assert_close(inside, bottleneck.saliency(pixels, texts, IDS), atol=1e-6, rtol=0)


def test_an_empty_batch_has_no_maps_and_a_flat_map_is_zero(model, pixels, texts):
    bottleneck = M2ib(model, layer=1)
    assert bottleneck.saliency(pixels[:0], texts[0], [], size=8).shape == (0, 8, 8)
    with torch.no_grad():
        grey = torch.zeros_like(pixels[:1])
        positions = model.vision.embeddings.position_embeddings.clone()
        model.vision.embeddings.position_embeddings.copy_(positions[:, :1].expand_as(positions))
        flat = M2ib(model, layer=1, steps=1).saliency(grey, texts[:1], IDS[:1], size=8)
        model.vision.embeddings.position_embeddings.copy_(positions)
    torch.testing.assert_close(flat, torch.zeros(1, 8, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 4}, "layer must be 0 to 3, a block of the vision encoder; got 4"),
        ({"layer": -1}, "layer must be 0 to 3"),
        ({"layer": 1, "steps": 0}, "steps and draws must be >= 1; got 0 and 10"),
        ({"layer": 1, "precision": "fp16"}, "precision fp16 loses the bottleneck's gradients"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message, model):
    with pytest.raises(ConfigError, match=message):
        M2ib(model, **settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_ids": IDS[:4]}, "image_ids must hold 5 ids, one per image; got 4"),
        (
            {"text_features": torch.ones(4, 32)},
            r"text_features must hold one value .* each of 5 images; got shape \[4, 32\]",
        ),
        ({"beta": torch.ones(3)}, r"beta must hold one value .* each of 5 images; got shape \[3\]"),
    ],
)
def test_arguments_that_do_not_match_the_number_of_images_are_refused(arguments, message, model, pixels, texts):
    given = {"pixels": pixels, "text_features": texts, "image_ids": IDS} | arguments
    with pytest.raises(ValueError, match=message):
        M2ib(model, layer=1).saliency(**given)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_map_of_the_cpu(model, pixels, texts, monkeypatch):
    monkeypatch.setattr(noise, "COUNTED_ON", {"cpu", "cuda"})
    on_cpu = M2ib(model, layer=1, precision="fp32").saliency(pixels, texts, IDS)
    try:
        on_gpu = M2ib(model.cuda(), layer=1, precision="fp32").saliency(pixels.cuda(), texts.cuda(), IDS)
    finally:
        model.cpu()
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-2, rtol=0)
