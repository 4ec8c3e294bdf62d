"""The segmenter's network: its outputs for the weights of a bundle, and the initial values of weights."""

import math

import pytest
import torch
from torch.nn import functional

from cxr_ray.models.plain_unet import PlainUNet
from cxr_ray.models.segmenter_ensemble import (
    SegmenterCard,
    ensemble_weights,
    load_members,
    member_weights,
    suited_to_cpu,
)

FILTERS = {levels: (4, 6, 8, 10, 12, 14)[:levels] for levels in (3, 4, 5, 6)}


def double_convolution(x, weights, name, stride):
    for number, step in ((1, stride), (2, 1)):
        x = functional.conv2d(x, weights[f"{name}.conv{number}.conv.weight"], stride=step, padding=1)
        norm = f"{name}.norm{number}"
        x = functional.instance_norm(x, weight=weights[f"{norm}.weight"], bias=weights[f"{norm}.bias"], eps=1e-5)
        x = functional.leaky_relu(x, 0.01)
    return x


def head(x, weights, name):
    return functional.conv2d(x, weights[f"{name}.conv.conv.weight"], weights[f"{name}.conv.conv.bias"])


def by_hand(x, weights, levels, supervised=0):
    """Logits of full resolution and of `supervised` lower levels, computed from the weights by their names in bundles."""
    down = ["input_block", *(f"downsamples.{i}" for i in range(levels - 2)), "bottleneck"]
    skips = []
    for name in down:
        x = double_convolution(x, weights, name, stride=2 if skips else 1)
        skips.append(x)
    risen = []
    for i, skip in enumerate(skips[-2::-1]):
        x = functional.conv_transpose2d(x, weights[f"upsamples.{i}.transp_conv.conv.weight"], stride=2)
        x = double_convolution(torch.cat([x, skip], 1), weights, f"upsamples.{i}.conv_block", stride=1)
        risen.append(x)
    output, *lower = risen[::-1]
    logits = [head(output, weights, "output_block")]
    for i, x in enumerate(lower[:supervised]):
        small = head(x, weights, f"deep_supervision_heads.{i}")
        logits.append(small.repeat_interleave(2 ** (i + 1), 2).repeat_interleave(2 ** (i + 1), 3))
    return torch.stack(logits, 1)


def unlike_the_first(network):
    """Set biases and norms to values other than the initial 0 and 1, so that all of them affect the output."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.normal_(0.5, 0.5)
    return network


@pytest.mark.parametrize("levels", FILTERS)
def test_output_equals_that_computed_from_the_weights_by_their_names(levels):
    torch.manual_seed(levels)
    network, images = unlike_the_first(PlainUNet(FILTERS[levels])).eval(), torch.randn(2, 1, 64, 64)
    weights = network.named_weights()
    found, expected = network(images), by_hand(images, weights, levels)[:, 0]
    assert found.shape == (2, 1, 64, 64)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    by_name = torch.autograd.grad(expected.square().mean(), list(weights.values()))
    found.square().mean().backward()
    for (name, weight), gradient in zip(weights.items(), by_name, strict=True):
        torch.testing.assert_close(weight.grad, gradient, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize(("levels", "supervised"), [(3, 0), (3, 1), (5, 2), (5, 3), (6, 3)])
def test_lower_levels_have_logits_while_training_only(levels, supervised):
    torch.manual_seed(levels)
    network = unlike_the_first(PlainUNet(FILTERS[levels], deep_supervision=supervised))
    images, weights = torch.randn(2, 1, 64, 64), network.named_weights()
    expected = by_hand(images, weights, levels, supervised)
    found = network.train()(images)
    assert found.shape == ((2, 1 + supervised, 1, 64, 64) if supervised else (2, 1, 64, 64))
    torch.testing.assert_close(found.view_as(expected), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(network.eval()(images), expected[:, 0], atol=1e-6, rtol=1e-6)
    found.square().mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in weights.values())
    assert {id(weight) for weight in weights.values()} == {id(parameter) for parameter in network.parameters()}


def test_a_level_that_does_not_exist_cannot_be_supervised():
    with pytest.raises(ValueError, match="deep_supervision must be 0 to 1 for a network of 3 levels; got 2"):
        PlainUNet((4, 8, 8), deep_supervision=2)


def test_names_in_a_bundle_are_those_of_every_earlier_one():
    block = ["conv1.conv.weight", "conv2.conv.weight", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"]
    expected = [f"{part}.{name}" for part in ("input_block", "downsamples.0", "bottleneck") for name in block]
    for i in range(2):
        expected += [f"upsamples.{i}.transp_conv.conv.weight", *(f"upsamples.{i}.conv_block.{name}" for name in block)]
    expected += ["output_block.conv.conv.weight", "output_block.conv.conv.bias"]
    network = PlainUNet((4, 8, 8), deep_supervision=1)
    assert list(member_weights(network)) == expected, "the supervised level's head is no part of a bundle"
    heads = ["deep_supervision_heads.0.conv.conv.weight", "deep_supervision_heads.0.conv.conv.bias"]
    assert list(network.named_weights()) == [*expected, *heads], "an optimizer's state goes by this order"
    assert list(member_weights(suited_to_cpu(network))) == expected


def test_a_loaded_member_computes_what_the_saved_one_did():
    torch.manual_seed(7)
    networks = [unlike_the_first(PlainUNet(FILTERS[4], deep_supervision=2)).eval() for _ in range(2)]
    images = torch.randn(1, 1, 32, 32)
    weights = ensemble_weights([member_weights(network) for network in networks])
    card = SegmenterCard(filters=FILTERS[4], members=2, image_size=32, weights_sha256="0" * 64)
    loaded = load_members("memory", card, weights)
    for network, member in zip(networks, loaded, strict=True):
        assert member(images).equal(network(images))


def test_weights_begin_as_he_normal_and_biases_at_0():
    torch.manual_seed(0)
    for name, weight in PlainUNet((32, 64, 128), deep_supervision=1).named_weights().items():
        if name.endswith("bias"):
            assert not weight.any()
        elif "norm" in name:
            assert weight.eq(1).all()
        elif weight.numel() > 2000:
            expected = math.sqrt(2 / (1 + 0.01**2) / weight[0].numel())
            assert weight.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(weight.mean().item()) < 0.1 * expected, name
            kurtosis = (weight / weight.std()).pow(4).mean().item()
            assert kurtosis == pytest.approx(3, abs=0.4), f"{name}: normal, not uniform"
