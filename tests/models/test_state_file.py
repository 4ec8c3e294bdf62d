"""Tensors come out of every usual file, and of a damaged or hostile one nothing but a message of one line."""

import io
import warnings

import pytest
import torch
from safetensors.torch import save

from cxr_ray.errors import BundleError
from cxr_ray.models.state_file import is_safetensors, metadata_of, safetensors_of, state_of

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
def test_a_file_is_told_by_its_content(writer):
    data = WRITERS[writer](STATE)
    assert is_safetensors(data) == (writer == "safetensors")
    for name in ("w.safetensors", "w.pth", "weights"):
        assert_equal(state_of(name, data), STATE)


@pytest.mark.parametrize("nest", ["state_dict", "model_state_dict", "model"])
def test_what_training_scripts_wrap_around_a_state_dict_is_taken_off(nest):
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in STATE.items()}
    assert_equal(state_of("w.pth", saved({"epoch": 3, nest: wrapped | {"module.version": "2"}})), STATE)
    assert_equal(state_of("w", save({f"model.backbone.{name}": tensor for name, tensor in STATE.items()})), STATE)
    beside = STATE | {"model.c": torch.zeros(1)}  # not common to all
    assert_equal(state_of("w", save(beside)), beside)


def test_metadata_are_those_of_a_safetensors_file():
    assert metadata_of(save(STATE, {"heads": "2"})) == {"heads": "2"}
    assert metadata_of(save(STATE)) == {}
    assert metadata_of(saved(STATE)) == {}


class Evil:
    """Runs code when unpickled the careless way."""

    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", [Evil(), {"a": Evil()}, {"state_dict": STATE | {"b": Evil()}}])
def test_pickled_code_is_refused_and_not_run(content, capsys):
    with pytest.raises(BundleError, match=r"w\.pth is damaged, or no state dict that can be read without running code"):
        state_of("w.pth", saved(content))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(("content", "kind"), [([1, 2], "list"), (torch.ones(2), "Tensor"), ({"a": 1}, "dict")])
def test_what_is_no_state_dict_is_named(content, kind):
    with pytest.raises(BundleError, match=rf"w\.pth holds no state dict but {kind}; save model\.state_dict\(\)"):
        state_of("w.pth", saved(content))


@pytest.mark.parametrize(
    "content", [b"", b".", b"\x80", b"\x80\x02J\x01.", b"not weights at all", b"\x10\0\0\0\0\0\0\0{broken header!!"]
)
def test_what_is_no_weights_file_is_refused(content):
    with pytest.raises(BundleError, match=r"^w is (damaged, or no state dict|no safetensors file)"):
        state_of("w", content)


def test_a_damaged_safetensors_file_is_refused_with_the_mend():
    with pytest.raises(BundleError, match=r"^w is no safetensors file: .*; fetch or export the weights again$"):
        state_of("w", save(STATE)[:-1])
    with pytest.raises(BundleError, match=r"^w is no safetensors file: .*; train again$"):
        safetensors_of("w", saved(STATE), mend="train again")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.slow
def test_whatever_byte_is_damaged_the_message_is_one_line(writer):
    """Of the many exceptions that a damaged pickle raises none escapes."""
    whole = WRITERS[writer](STATE)
    damaged = [whole[:end] for end in range(0, len(whole), 7)]
    for value in (0, 255, *b".]RQ"):
        damaged += [whole[:i] + bytes([value]) + whole[i + 1 :] for i in range(len(whole))]
    messages = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of unknown functions
        for data in damaged:
            try:
                state_of("w", data)
            except BundleError as error:
                messages.append(str(error))
    assert len(messages) > len(whole) // 7
    assert all(message.startswith("w ") and "\n" not in message for message in messages)
