"""Weights of SAM are loaded unchanged, and any other file is refused in one line."""

import hashlib
import re
import uuid

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from segment_anything import sam_model_registry

from cxr_ray.errors import BundleError, ConfigError
from cxr_ray.models.sam import SAM_CONFIGS, Sam, SamConfig, build_sam
from cxr_ray.models.sam_weights import config_of, load_sam, sam_type
from cxr_ray.models.weights_cache import weights_sha256

UNREADABLE = "is (damaged, or is not a state dict that can be read|not a safetensors file)"


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    tiny = SamConfig(
        encoder_depth=2,
        encoder_embed_dim=32,
        encoder_num_heads=2,
        encoder_global_attn_indexes=(1,),
        prompt_embed_dim=32,
        image_size=256,
    )
    return Sam(build_sam(tiny), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def state(sam):
    return sam.model.state_dict()


@pytest.mark.parametrize("name", SAM_CONFIGS)
def test_published_sams_are_built_and_recognised_by_their_shapes(name):
    with torch.device("meta"):
        ours, theirs = build_sam(SAM_CONFIGS[name]).state_dict(), sam_model_registry[name]().state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: t.shape for key, t in theirs.items()}
    assert config_of(theirs) == SAM_CONFIGS[name]
    assert sam_type(config_of(theirs)) == f"sam_{name}"


@pytest.fixture
def weights_uri(state, tmp_path):
    save_file(state, tmp_path / "sam.safetensors")
    return str(tmp_path / "sam.safetensors")


@pytest.mark.parametrize("writer", ["safetensors", "pth"])
def test_weights_are_loaded_unchanged(sam, state, tmp_path, writer):
    path = tmp_path / f"sam.{writer}"
    if writer == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_sam(str(path), sha256=sha256, device="cpu", precision="fp32")
    assert loaded.model_id == f"sam-{sha256[:12]}"
    assert loaded.image_size == 256
    image = np.random.default_rng(2).integers(0, 256, (90, 120), np.uint8)
    torch.testing.assert_close(loaded.encode([image]), sam.encode([image]), rtol=0, atol=0)
    for ours, theirs in zip(loaded.model.state_dict().values(), state.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_half_precision_weights_are_read_as_fp32(state, tmp_path):
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "half.pth")
    loaded = load_sam(str(tmp_path / "half.pth"), device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


class Evil:
    """Object that runs code when it is unpickled without restrictions."""

    def __reduce__(self):
        return (print, ("executed",))


def refused(uri, message, **arguments):
    with pytest.raises(BundleError, match=message) as caught:
        load_sam(uri, device="cpu", **arguments)
    assert "\n" not in str(caught.value)
    assert uri in str(caught.value)


def test_pickled_code_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"image_encoder.pos_embed": Evil()}, tmp_path / "evil.pth")
    refused(str(tmp_path / "evil.pth"), "holds no state dict but dict")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x10\0\0\0\0\0\0\0{broken header!!"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "damaged").write_bytes(content)
    refused(str(tmp_path / "damaged"), UNREADABLE)


@pytest.mark.parametrize("kept", [100, 5_000, -100])
def test_cut_files_are_refused(weights_uri, state, tmp_path, kept):
    torch.save(state, tmp_path / "whole.pth")
    for path in (tmp_path / "whole.pth", tmp_path / "sam.safetensors"):
        cut = path.with_name(f"cut_{path.name}")
        cut.write_bytes(path.read_bytes()[:kept])
        refused(str(cut), UNREADABLE)


def test_a_missing_file_is_named(tmp_path):
    refused(str(tmp_path / "none.pth"), "no SAM weights: cannot read .*none.pth.*check the URI")


def test_another_sha256_is_refused(weights_uri):
    refused(weights_uri, f"its sha256 is [0-9a-f]{{64}}, not {'0' * 64}; put the right file there", sha256="0" * 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"a": torch.zeros(3)}, r"holds no SAM: image_encoder\.pos_embed is missing; name weights"),
        (
            lambda state: {name: value for name, value in state.items() if "iou_token" not in name},
            r'holds no SAM: Missing key\(s\) in state_dict: "mask_decoder\.iou_token\.weight"',
        ),
        (lambda state: state | {"mask_decoder.hf_token.weight": torch.zeros(3)}, r"Unexpected key.*hf_token"),
        (lambda state: state | {"image_encoder.neck.0.weight": torch.zeros(3)}, r"size mismatch.*neck\.0\.weight"),
        (
            lambda state: {name: value for name, value in state.items() if "blocks.0." not in name},
            r"blocks\.0\.attn\.rel_pos_h is missing",
        ),
        (lambda state: state | {"image_encoder.pos_embed": torch.zeros(1, 9)}, r"pos_embed is \[1, 9\], not \[1, G"),
        (
            lambda state: state | {"prompt_encoder.no_mask_embed.weight": torch.zeros(())},
            r"no_mask_embed\.weight is \[\], not of 2 axes as in a SAM; name weights",
        ),
    ],
)
def test_weights_that_are_not_a_sam_are_refused(state, tmp_path, change, message):
    torch.save(change(dict(state)), tmp_path / "other.pth")
    refused(str(tmp_path / "other.pth"), message)


def test_a_list_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    refused(str(tmp_path / "list.pth"), "holds no state dict but list")


def test_another_type_than_the_one_named_is_refused(weights_uri):
    refused(weights_uri, "holds no sam_vit_b but sam of width 32 and 2 blocks", model_type="vit_b")


def test_an_unknown_type_is_refused_and_the_known_types_are_listed(weights_uri):
    with pytest.raises(ConfigError, match=re.escape("no SAM of type 'vit_g'; choose one of vit_b, vit_l, vit_h")):
        load_sam(weights_uri, "vit_g")


def test_a_node_downloads_weights_once(state, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uri = f"memory://sam/{uuid.uuid4().hex}.safetensors"
    fsspec.filesystem("memory").pipe_file(uri, save(state))
    sha256 = weights_sha256(uri)
    assert load_sam(uri, device="cpu").model_id == f"sam-{sha256[:12]}"
    fsspec.filesystem("memory").rm(uri)
    assert load_sam(uri, sha256=sha256, device="cpu").model_id == f"sam-{sha256[:12]}"
