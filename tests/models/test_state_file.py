"""Tensors are read from every usual file; a damaged or hostile file gives only a message of one line."""

import argparse
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from cxr_ray.errors import BundleError
from cxr_ray.models.state_file import checkpoint_of, is_safetensors, metadata_of, safetensors_of, state_of

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.tensor(7)}


def saved(content, *, zipped=True):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


WRITERS = {"safetensors": save, "zip": saved, "legacy": lambda content: saved(content, zipped=False)}


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(found[name].dtype == tensor.dtype and found[name].equal(tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("writer", WRITERS)
def test_a_format_is_recognised_by_the_content(writer):
    data = WRITERS[writer](STATE)
    assert is_safetensors(data) == (writer == "safetensors")
    for name in ("w.safetensors", "w.pth", "weights"):
        assert_equal(state_of(name, data), STATE)


@pytest.mark.parametrize("nest", ["state_dict", "model_state_dict", "model"])
def test_nesting_and_prefixes_of_training_scripts_are_removed(nest):
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in STATE.items()}
    assert_equal(state_of("w.pth", saved({"epoch": 3, nest: wrapped | {"module.version": "2"}})), STATE)
    assert_equal(state_of("w", save({f"model.backbone.{name}": tensor for name, tensor in STATE.items()})), STATE)
    mixed = STATE | {"model.c": torch.zeros(1)}  # only one name has a prefix
    assert_equal(state_of("w", save(mixed)), mixed)


def test_metadata_are_those_of_a_safetensors_file():
    assert metadata_of(save(STATE, {"heads": "2"})) == {"heads": "2"}
    assert metadata_of(save(STATE)) == {}
    assert metadata_of(saved(STATE)) == {}


class Evil:
    """Object that runs code when it is unpickled without restrictions."""

    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "fault"), [(Evil(), "pickled object of builtins.print"), ({"a": Evil()}, "no state dict")]
)
def test_pickled_code_alone_is_refused_and_not_run(content, fault, capsys):
    with pytest.raises(BundleError, match=rf"w\.pth holds (a )?{fault}"):
        state_of("w.pth", saved(content))
    assert "executed" not in capsys.readouterr().out


class Options(dict):
    """A subclass of dict, as some training scripts keep their options in."""


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "beside",
    [
        Evil(),
        argparse.Namespace(lr=1),
        np.float64(0.5),
        Path("runs"),
        Options(lr=1),
        [np.dtype("int8"), {1: np.int64(2)}],
    ],
)
def test_objects_beside_the_tensors_are_read_without_running_code(beside, zipped, capsys):
    assert_equal(state_of("w.pth", saved({"state_dict": STATE, "beside": beside}, zipped=zipped)), STATE)
    assert "executed" not in capsys.readouterr().out


def test_a_module_that_torch_blocks_stays_refused():
    with pytest.raises(BundleError, match="can be read without running code"):
        state_of("w.pth", saved({"state_dict": STATE, "beside": os.getpid}))


def test_the_architecture_that_a_training_script_names_is_found():
    named = {"state_dict": STATE, "args": argparse.Namespace(model="resnet50d")}
    assert checkpoint_of("w", saved(named)).architecture == "resnet50d"
    assert checkpoint_of("w", saved({"state_dict": STATE, "arch": "seresnet50"})).architecture == "seresnet50"
    assert checkpoint_of("w", saved(STATE)).architecture is None


def test_a_moving_average_goes_before_the_weights_and_is_named():
    other = {name: tensor + 1 for name, tensor in STATE.items()}
    found = checkpoint_of("w", saved({"state_dict": other, "state_dict_ema": STATE}))
    assert_equal(found.state, STATE)
    assert found.notes == ("took state_dict_ema, the moving average of the weights, not state_dict",)


def test_a_prefix_of_most_names_is_removed_and_the_others_are_named():
    found = checkpoint_of(
        "w", save({f"module.{name}": t for name, t in STATE.items()} | {"loss.weight": torch.ones(1)})
    )
    assert_equal(found.state, STATE | {"loss.weight": torch.ones(1)})
    assert found.outside == {"loss.weight"}
    assert found.notes == ("tensors outside the network's prefix: loss.weight",)


@pytest.mark.parametrize(("content", "kind"), [([1, 2], "list"), (torch.ones(2), "Tensor"), ({"a": 1}, "dict")])
def test_content_that_is_not_a_state_dict_is_named(content, kind):
    with pytest.raises(BundleError, match=rf"w\.pth holds no state dict but {kind}; save model\.state_dict\(\)"):
        state_of("w.pth", saved(content))


@pytest.mark.parametrize(
    "content", [b"", b".", b"\x80", b"\x80\x02J\x01.", b"not weights at all", b"\x10\0\0\0\0\0\0\0{broken header!!"]
)
def test_content_that_is_not_a_weights_file_is_refused(content):
    with pytest.raises(BundleError, match=r"^w is (damaged, or is not a state dict|not a safetensors file)"):
        state_of("w", content)


def test_a_damaged_safetensors_file_is_refused_and_the_fix_is_named():
    with pytest.raises(BundleError, match=r"^w is not a safetensors file: .*; fetch or export the weights again$"):
        state_of("w", save(STATE)[:-1])
    with pytest.raises(BundleError, match=r"^w is not a safetensors file: .*; train again$"):
        safetensors_of("w", saved(STATE), fix="train again")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.slow
def test_whatever_byte_is_damaged_the_message_is_one_line(writer):
    """No exception of torch.load or safetensors escapes, whichever byte of a file is changed."""
    whole = WRITERS[writer](STATE)
    damaged = [whole[:end] for end in range(0, len(whole), 7)]
    for value in (0, 255, *b".]RQ"):
        damaged += [whole[:i] + bytes([value]) + whole[i + 1 :] for i in range(len(whole))]
    messages = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about unknown functions
        for data in damaged:
            try:
                state_of("w", data)
            except BundleError as error:
                messages.append(str(error))
    assert len(messages) > len(whole) // 7
    assert all(message.startswith("w ") and "\n" not in message for message in messages)
