import pytest

from cxr_ray.config.backbones import BACKBONES
from cxr_ray.errors import ConfigError
from cxr_ray.models.backbones import build_backbone, classifier_head


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(("image_size", "num_classes"), [(96, 7), (100, 1), (225, 2)])
def test_gives_a_logit_for_each_class_at_any_image_size(name, image_size, num_classes):
    import torch

    with torch.device("meta"):  # the meta device computes shapes only
        model = build_backbone(name, num_classes=num_classes, image_size=image_size).eval()
        logits = model(torch.empty(3, 3, image_size, image_size))
    assert logits.shape == (3, num_classes)


def test_a_vit_learns_an_embedding_for_every_patch_of_the_padded_image():
    import torch

    with torch.device("meta"):
        model = build_backbone("vit_b16", num_classes=2, image_size=100)
    assert model.pos_embed.shape[1] == 1 + 7 * 7


def test_an_unknown_name_is_refused_and_the_known_names_are_listed():
    with pytest.raises(ConfigError, match="no backbone 'vgg16'; choose one of vit_b16, resnet50, "):
        build_backbone("vgg16", num_classes=2, image_size=32)


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_at_first_all_classes_are_about_equally_likely(name):
    """The test uses a bound that holds for every draw of the head, so that it does not depend on a seed.

    Weights of mean square v make the logits of an image with features f independent, with mean 0 and variance v * |f|^2.
    The expected cross-entropy then exceeds that of equal probabilities, log(classes), by at most v * |f|^2 / 2: Jensen's
    inequality for the logarithm of the sum of exponentials.
    """
    import torch

    model = build_backbone(name, num_classes=4, image_size=64)
    head = classifier_head(model)
    with torch.inference_mode():
        features = model.forward_head(model.forward_features(torch.randn(8, 3, 64, 64)), pre_logits=True)
    excess = head.weight.square().mean() * features.square().sum(1).mean() / 2
    assert head.weight.std() > 0, "the classes are not tied"
    assert not head.bias.any()
    assert excess.item() < 0.1


def test_residual_blocks_of_an_efficientnet_begin_as_the_identity():
    import torch

    block = build_backbone("efficientnet_b0", num_classes=4, image_size=64).blocks[1][1].train()
    images = torch.randn(2, block.conv_pw.in_channels, 8, 8)
    assert torch.equal(block(images), images)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_head_is_one_linear_layer_that_a_training_may_leave_alone_unfrozen(name):
    import torch

    with torch.device("meta"):
        model = build_backbone(name, num_classes=5, image_size=32)
    head = classifier_head(model)
    assert (type(head), head.out_features) == (torch.nn.Linear, 5)
    assert any(module is head for module in model.modules())
