import copy

import pytest
import torch
from torch import nn

from cxr_ray.models.backbones import build_backbone
from cxr_ray.models.depthwise import DepthwiseConv2d, replace_depthwise


def gradients(layer, x, weigh, *, bf16=True):
    """Output of the layer, and gradients of its weighted sum by the input and by the layer's weight."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = layer(x)
    (y.to(weigh.dtype) * weigh).sum().backward()
    return y.detach(), x.grad, layer.weight.grad


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1), (5, 2)])
def test_output_is_that_of_bf16_and_gradients_are_those_of_fp64(kernel, stride):
    torch.manual_seed(0)
    plain = nn.Conv2d(24, 24, kernel, stride, kernel // 2, groups=24, bias=False)
    model = nn.Sequential(copy.deepcopy(plain))
    replace_depthwise(model)
    faster, exact = model[0], copy.deepcopy(plain)
    assert isinstance(faster, DepthwiseConv2d)
    x = torch.randn(4, 24, 16, 16).bfloat16().float()
    weigh = torch.randn(4, 24, 16 // stride, 16 // stride).bfloat16().float()
    with torch.no_grad():
        for layer in (plain, faster, exact):
            layer.weight.copy_(layer.weight.bfloat16())
    expected = gradients(exact.double(), x.double(), weigh.double(), bf16=False)
    native, found = gradients(plain, x, weigh), gradients(faster, x, weigh)
    assert found[0].dtype == torch.bfloat16
    torch.testing.assert_close(found[0], native[0], rtol=1e-2, atol=1e-2)
    for exact_gradient, gradient in zip(expected[1:], found[1:], strict=True):
        torch.testing.assert_close(gradient.double(), exact_gradient.double(), rtol=2e-2, atol=5e-2)


def test_parameters_keep_their_names_and_a_copy_has_its_own_parameters():
    model = build_backbone("efficientnet_b0", num_classes=2, image_size=32)
    names = list(model.state_dict())
    replace_depthwise(model)
    assert list(model.state_dict()) == names
    replaced = [name for name, module in model.named_modules() if isinstance(module, DepthwiseConv2d)]
    assert len(replaced) == 11
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_submodule(replaced[0]).weight.zero_()
    assert model.get_submodule(replaced[0]).weight.abs().sum() > 0


def test_without_autocast_it_is_the_plain_convolution():
    plain = nn.Conv2d(8, 8, 5, 1, 2, groups=8, bias=False)
    model = nn.Sequential(plain)
    x = torch.randn(2, 8, 9, 9)
    before = model(x)
    replace_depthwise(model)
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


def test_a_convolution_that_is_not_depthwise_stays():
    model = nn.Sequential(
        nn.Conv2d(8, 8, 5, groups=4), nn.Conv2d(8, 8, 5), nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
    )
    kinds = [type(module) for module in model]
    replace_depthwise(model)
    assert [type(module) for module in model] == kinds
