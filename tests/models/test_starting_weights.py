"""Weights of torchvision, and weights with another head or another image size, give the same features."""

import logging
from functools import partial

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file

from cxr_ray.config.backbones import BACKBONES
from cxr_ray.errors import BundleError
from cxr_ray.models.backbones import build_backbone
from cxr_ray.models.foreign.timm_names import named_as_timm
from cxr_ray.models.starting_weights import (
    check_starting_weights,
    load_starting_weights,
    pretrained_normalisation,
    usual_normalisation,
)

TORCHVISION_MODELS = {
    "resnet50": torchvision.models.resnet50,
    "densenet121": torchvision.models.densenet121,
    "efficientnet_b0": torchvision.models.efficientnet_b0,
    "vit_b16": partial(torchvision.models.vit_b_16, image_size=32),
}


def logits(model, size=32):
    torch.manual_seed(9)
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, size, size))


def disturbed(model):
    """Move parameters and statistics away from their initial values, at which a mix-up would not show."""
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.2 * torch.rand_like(tensor)).add_(0.01 * torch.rand_like(tensor))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("backbone", TORCHVISION_MODELS)
def test_weights_of_torchvision_give_its_logits(backbone, suffix, tmp_path):
    theirs = disturbed(TORCHVISION_MODELS[backbone](num_classes=4))
    file = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, file)
    else:
        save_file(theirs.state_dict(), file)
    model = build_backbone(backbone, num_classes=4, image_size=32)
    load_starting_weights(model, str(file), backbone=backbone)
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name in torchvision.models.list_models()])
def test_any_backbone_that_torchvision_has_under_its_name_takes_its_weights(backbone):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(backbone, num_classes=4).state_dict()
        wanted = build_backbone(backbone, num_classes=4, image_size=32).state_dict()
    found = named_as_timm(theirs, wanted)
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in wanted.items()}


@pytest.mark.slow
@pytest.mark.parametrize("shuffled", [False, True])
def test_tensors_are_recognised_by_torchvisions_order_and_not_by_an_architectures_name(shuffled):
    theirs = disturbed(torchvision.models.convnext_tiny(num_classes=4))
    model = timm.create_model("convnext_tiny", num_classes=4)
    state = theirs.state_dict()
    names = sorted(state) if shuffled else list(state)  # the order of safetensors files, or that of modules
    model.load_state_dict(named_as_timm({name: state[name] for name in names}, model.state_dict()))
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-3, atol=1e-4)


def test_tensors_of_other_sizes_are_not_recognised_by_their_order():
    state = torchvision.models.efficientnet_b0(num_classes=4).state_dict()
    with torch.device("meta"):
        wanted = timm.create_model("efficientnet_b0", num_classes=4).state_dict()
    assert named_as_timm(state, wanted).keys() == wanted.keys()
    assert named_as_timm(state | {"features.1.0.block.0.0.weight": torch.zeros(3)}, wanted).keys() == state.keys()
    del state["features.1.0.block.0.0.weight"]
    assert named_as_timm(state, wanted).keys() == state.keys()


def test_another_head_is_skipped_and_named(tmp_path, caplog):
    source = disturbed(build_backbone("efficientnet_b0", num_classes=7, image_size=32))
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = build_backbone("efficientnet_b0", num_classes=4, image_size=32)
    with caplog.at_level(logging.INFO, "cxr_ray"):
        load_starting_weights(model, str(tmp_path / "w.safetensors"), backbone="efficientnet_b0")
    assert "w.safetensors is not taken over: its shape is 7x1280" in caplog.text
    inputs = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval().forward_features(inputs), source.eval().forward_features(inputs))


@pytest.mark.slow
def test_positions_of_a_vit_are_interpolated_to_the_new_grid(tmp_path):
    source = build_backbone("vit_b16", num_classes=4, image_size=64)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    model = build_backbone("vit_b16", num_classes=4, image_size=96)
    load_starting_weights(model, str(tmp_path / "w.pth"), backbone="vit_b16")
    assert model.pos_embed.shape == (1, 37, 768)
    torch.testing.assert_close(model.pos_embed[:, 0], source.pos_embed[:, 0])
    corners = (model.pos_embed[0, 1], source.pos_embed[0, 1])
    assert torch.cosine_similarity(*corners, dim=0) > 0.8
    torch.testing.assert_close(model.blocks[3].mlp.fc1.weight, source.blocks[3].mlp.fc1.weight)


class Evil:
    """Object that runs code when it is unpickled without restrictions."""

    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), "holds a pickled object of [a-z_.]*print, which needs its code"),
        ([1, 2], "holds no state dict but list"),
        ({"a": torch.zeros(3)}, "does not fit resnet50: of its tensors 265 are missing"),
    ],
)
def test_a_file_without_weights_of_the_architecture_is_refused(content, message, tmp_path, capsys):
    torch.save(content, tmp_path / "w.pth")
    model = build_backbone("resnet50", num_classes=4, image_size=32)
    with pytest.raises(BundleError, match=message):
        load_starting_weights(model, str(tmp_path / "w.pth"), backbone="resnet50")
    assert "executed" not in capsys.readouterr().out


def refused(uri, message):
    model = build_backbone("efficientnet_b0", num_classes=4, image_size=32)
    with pytest.raises(BundleError, match=message) as caught:
        load_starting_weights(model, str(uri), backbone="efficientnet_b0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b".", b"\x80", b"\x80\x02J\x01.", b"not weights at all"])
def test_a_damaged_pickle_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "w.pth").write_bytes(content)
    refused(tmp_path / "w.pth", r"w\.pth is damaged, or is not a state dict that can be read")


def test_a_damaged_safetensors_file_is_refused_in_one_line(tmp_path):
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-1])
    refused(tmp_path / "w.safetensors", r"w\.safetensors is not a safetensors file")


def test_missing_weights_are_named(tmp_path):
    refused(tmp_path / "none.pth", r"no weights to start from: cannot read .*none\.pth: .*check the URI")


def test_training_can_start_from_a_bundle(tmp_path, save_random):
    save_random(tmp_path, seed=4)
    model = build_backbone("efficientnet_b0", num_classes=2, image_size=64)
    load_starting_weights(model, str(tmp_path), backbone="efficientnet_b0")
    saved = load_file(tmp_path / "model.safetensors")
    torch.testing.assert_close(model.conv_stem.weight, torch.nn.Parameter(saved["conv_stem.weight"]))


def test_weights_bring_their_normalisation_and_the_table_serves_those_that_do_not_say(tmp_path, save_random):
    model = build_backbone("efficientnet_b0", num_classes=4, image_size=32)
    save_random(tmp_path / "bundle", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    found = load_starting_weights(model, str(tmp_path / "bundle"), backbone="efficientnet_b0")
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    found = load_starting_weights(model, str(tmp_path / "w.safetensors"), backbone="efficientnet_b0")
    assert found == usual_normalisation("efficientnet_b0")
    assert found.mean == (0.485, 0.456, 0.406)
    assert usual_normalisation("efficientnet_lite0").mean == (0.5, 0.5, 0.5)
    assert pretrained_normalisation(timm.create_model("vit_tiny_patch16_224")).mean == (0.5, 0.5, 0.5)


def test_the_head_of_a_bundle_is_taken_over_in_the_order_of_the_new_labels(tmp_path, save_random, caplog):
    save_random(tmp_path, seed=4, labels=("a", "b", "c"))
    saved = load_file(tmp_path / "model.safetensors")
    model = build_backbone("efficientnet_b0", num_classes=3, image_size=64)
    load_starting_weights(model, str(tmp_path), backbone="efficientnet_b0", labels=("c", "a", "b"))
    assert model.classifier.weight.equal(saved["classifier.weight"][[2, 0, 1]])
    before = model.classifier.weight.clone()
    load_starting_weights(model, str(tmp_path), backbone="efficientnet_b0", labels=("c", "a", "d"))
    assert model.classifier.weight.equal(before)
    assert "the head of" in caplog.text
    assert "is not taken over: its classes are a, b, c" in caplog.text


def test_weights_that_need_another_network_are_refused_on_the_driver(tmp_path):
    other = timm.create_model("tf_efficientnet_b0", num_classes=2)
    save_file(disturbed(other).state_dict(), tmp_path / "tf_efficientnet_b0.safetensors")
    with pytest.raises(BundleError, match="name --architecture tf_efficientnet_b0"):
        check_starting_weights(str(tmp_path / "tf_efficientnet_b0.safetensors"), backbone="efficientnet_b0")
    torch.save(timm.create_model("resnet34").state_dict(), tmp_path / "w.pth")
    with pytest.raises(BundleError, match="does not fit resnet50"):
        check_starting_weights(str(tmp_path / "w.pth"), backbone="resnet50")
