"""Attention roll-out follows its formula and finds the patch to which a transformer was built to attend."""

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from cxr_ray.models.attention_rollout import (
    attention_rollout,
    patches_of_class_token,
    recorded_attention,
    rollout,
)
from cxr_ray.models.classifier import Classifier


@pytest.fixture
def transformer():
    """A transformer with random weights, 2 x 3 patches, 2 layers and 2 heads."""
    torch.manual_seed(0)
    return VisionTransformer(img_size=(32, 48), embed_dim=8, depth=2, num_heads=2, num_classes=3).eval()


def attention_of(*rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def test_attention_to_oneself_is_the_identity():
    identity = torch.eye(5).expand(3, 2, 4, 5, 5)
    torch.testing.assert_close(rollout(identity), torch.eye(5).expand(2, 5, 5))


def test_rows_sum_to_one():
    attentions = torch.randn(4, 2, 3, 7, 7, generator=torch.Generator().manual_seed(1)).softmax(-1)
    joint = rollout(attentions)
    assert joint.shape == (2, 7, 7)
    torch.testing.assert_close(joint.sum(-1), torch.ones(2, 7))


def test_two_layers_by_hand():
    first = attention_of([0.0, 1.0], [0.0, 1.0])  # both tokens attend to the second token
    second = attention_of([1.0, 0.0], [1.0, 0.0])  # then both tokens attend to the first token
    # with skip connections: [[1, 0], [.5, .5]] @ [[.5, .5], [0, 1]]
    expected = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]])
    torch.testing.assert_close(rollout(torch.stack([first, second])), expected)


def test_heads_are_averaged():
    heads = torch.cat([attention_of([1.0, 0.0], [0.0, 1.0]), attention_of([0.0, 1.0], [0.0, 1.0])], dim=1)
    torch.testing.assert_close(rollout(heads[None])[0, 0], torch.tensor([0.75, 0.25]))


def test_recording_changes_no_output_and_leaves_the_network_as_it_was(transformer):
    inputs = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = transformer(inputs)
        with recorded_attention(transformer) as found:
            during = transformer(inputs)
        after = transformer(inputs)
    torch.testing.assert_close(during, before)
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert [tuple(attention.shape) for attention in found] == [(2, 2, 7, 7)] * 2
    for attention in found:
        torch.testing.assert_close(attention.sum(-1), torch.ones(2, 2, 7))
    assert all(block.attn.fused_attn for block in transformer.blocks)


def test_the_patch_to_which_the_network_attends_is_the_hottest():
    network = VisionTransformer(img_size=(32, 48), embed_dim=4, depth=1, num_heads=1, num_classes=2).eval()
    (block,) = network.blocks
    block.norm1 = nn.Identity()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.patch_embed.proj.weight[0] = 1 / (3 * 16 * 16)  # a token's first feature is its patch's brightness
        block.attn.qkv.bias[0] = 1.0  # every query matches the first feature
        block.attn.qkv.weight[4, 0] = 20.0  # every key holds the first feature
    inputs = torch.zeros(1, 3, 32, 48)
    inputs[:, :, 16:, 32:] = 1.0  # the last of 2 x 3 patches
    (found,) = patches_of_class_token(network, inputs)
    assert found.shape == (6,)
    assert found[5] == pytest.approx(0.5, abs=0.01), "half of the class token's weight stays with itself"
    assert found[:5].max() < 0.01


@pytest.mark.slow
def test_padding_to_whole_patches_is_left_out_of_the_map(save_random, tmp_path, radiographs):
    """timm pads 40 pixels to 3 x 3 patches of 16 pixels, and the map covers only the 40 pixels."""
    save_random(tmp_path, backbone="vit_b16", image_size=40)
    classifier = Classifier(str(tmp_path), device="cpu", precision="fp32")
    pixels = np.stack([image[:40, :40] for image in radiographs[:2]])
    found = attention_rollout(classifier, pixels)
    assert (found.dtype, found.shape) == (np.float32, (2, 40, 40))
    sources = patches_of_class_token(classifier.network, classifier.to_input(pixels)).reshape(2, 3, 3)
    scaled = (sources / sources.amax((1, 2), keepdim=True)).numpy()
    for row, column in (
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ):  # at the centres of whole patches the map has the patches' values
        y, x = 16 * row + 8, 16 * column + 8
        np.testing.assert_allclose(found[:, y, x], scaled[:, row, column], atol=0.05)
