import pytest
import torch

from cxr_ray.errors import ConfigError
from cxr_ray.models.backbones import build_network
from cxr_ray.models.feature_layer import feature_count, feature_reader

VIT = ("vit_tiny_patch16_224", {"img_size": 32})
CONVOLUTIONS = ("efficientnet_b0", None)


def network_of(name, options, *, outputs=3):
    torch.manual_seed(0)
    return build_network(name, num_classes=outputs, image_size=32, options=options).eval()


@pytest.fixture(scope="module")
def vit():
    return network_of(*VIT)


@pytest.fixture(scope="module")
def convolutions():
    return network_of(*CONVOLUTIONS)


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "options"), [VIT, CONVOLUTIONS])
def test_pooled_features_are_those_that_the_head_reads(name, options, images):
    network = network_of(name, options)
    with torch.no_grad():
        features = feature_reader(network, "pooled")(images)
        torch.testing.assert_close(network.get_classifier()(features), network(images))


def test_the_class_token_is_that_after_the_last_normalisation(vit, images):
    with torch.no_grad():
        found = feature_reader(vit, "cls")(images)
        torch.testing.assert_close(found, vit.forward_features(images)[:, 0])
        tokens = vit.forward_features(images)[:, 1:]
        torch.testing.assert_close(feature_reader(vit, "norm")(images), tokens.mean(1))  # tokens of patches alone


def test_a_layer_by_name_is_averaged_over_its_positions(convolutions, images):
    with torch.no_grad():
        planes = convolutions.blocks[:3](convolutions.bn1(convolutions.conv_stem(images)))
        torch.testing.assert_close(feature_reader(convolutions, "blocks.2")(images), planes.mean((2, 3)))
    assert not any(module._forward_hooks for module in convolutions.modules())


def test_a_network_whose_channels_come_last_is_averaged_over_height_and_width():
    assert feature_count(network_of("swin_tiny_patch4_window7_224", {"img_size": 64}), "layers.1", image_size=64) == 192


def test_patches_of_a_vit_of_any_image_size_are_averaged(images):
    network = network_of("vit_b16", None)
    with torch.no_grad():
        expected = network.patch_embed.proj(images).mean((2, 3))
        torch.testing.assert_close(feature_reader(network, "patch_embed")(images), expected)


@pytest.mark.parametrize(
    ("layer", "count"), [("pooled", 192), ("cls", 192), ("blocks.3.mlp.fc1", 768), ("patch_embed", 192)]
)
def test_features_are_counted_without_weights(layer, count):
    with torch.device("meta"):
        network = network_of(*VIT)
    assert feature_count(network, layer, image_size=32) == count


def test_what_is_no_layer_is_refused(vit, convolutions):
    with pytest.raises(
        ConfigError, match=r"VisionTransformer has no layer 'block.9'; similar names are pooled, blocks\.9"
    ):
        feature_reader(vit, "block.9")
    with pytest.raises(
        ConfigError, match="layer cls needs a network with a class token, and EfficientNet has none; take"
    ):
        feature_reader(convolutions, "cls")
    idle = network_of(*VIT)
    idle.never_called = torch.nn.Identity()
    with pytest.raises(ConfigError, match="layer 'never_called' gives no tensor with one entry for each image"):
        feature_count(idle, "never_called", image_size=32)
