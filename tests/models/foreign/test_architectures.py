import pytest

from cxr_ray.config.backbones import IMAGENET_MEAN
from cxr_ray.errors import ConfigError
from cxr_ray.models.foreign.architectures import architecture_of, backbone_of


def test_a_backbone_of_the_table_has_imagenets_mean_and_says_that_it_is_assumed():
    found = architecture_of("vit_b16")
    assert (found.timm_name, found.preprocessing.mean) == ("vit_base_patch16_224", IMAGENET_MEAN)
    assert found.preprocessing.origin == "ImageNet's, assumed; --mean and --std give others"
    assert architecture_of("vit_b16", needs_timm_preprocessing=True).preprocessing.mean == (0.5, 0.5, 0.5)


def test_a_tag_of_timm_tells_the_mean_and_the_licence():
    found = architecture_of("tf_efficientnet_b0.ns_jft_in1k")
    assert (found.timm_name, found.licence) == ("tf_efficientnet_b0", "apache-2.0")
    assert architecture_of("vit_base_patch14_dinov2").preprocessing.image_size == 518


def test_published_encoders_have_their_own_pixels():
    grey = architecture_of("torchxrayvision_densenet121").preprocessing
    assert [(pixel / 255 - grey.mean[0]) / grey.std[0] for pixel in (0, 127.5, 255)] == [-1024, 0, 1024]
    assert architecture_of("rad_dino").preprocessing.image_size == 518
    assert architecture_of("biomedclip").timm_name == "vit_base_patch16_224"


def test_an_unknown_name_is_refused_with_similar_ones():
    with pytest.raises(ConfigError, match=r"no architecture 'resnet_50'; similar names are .*resnet50"):
        architecture_of("resnet_50")


def test_the_backbone_of_the_table_is_found_by_timms_name():
    assert [backbone_of(name) for name in ("vit_base_patch16_224", "resnet18")] == ["vit_b16", None]
