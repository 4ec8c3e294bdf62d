from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr_ray.errors import EngineError
from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.models.engines.converted_model import converted_model, is_whole, reference_of


def write_text(log, network, example, folder):
    """What a converter does: it writes files into a folder, here their number of parameters."""
    with Path(log).open("a") as file:
        file.write("converted\n")
    (folder / "model.txt").write_text(f"{sum(p.numel() for p in network.parameters())} {list(example.shape)}")


def conversions(log):
    return len(Path(log).read_text().splitlines())


def test_a_model_is_converted_once_and_kept_with_the_outputs_of_torch(small_forward, tmp_path):
    convert = partial(write_text, tmp_path / "log")
    folder = converted_model(small_forward, convert, depends_on=["text", "1"])
    assert (folder / "model.txt").read_text() == "50 [8, 16, 16]"
    assert folder.is_relative_to(tmp_path / "cache/cxr_ray/engines")
    with torch.inference_mode():
        expected = small_forward.build()(torch.from_numpy(check_pixels(16))).numpy()
    np.testing.assert_array_equal(reference_of(folder), expected)
    assert converted_model(small_forward, convert, depends_on=["text", "1"]) == folder
    assert conversions(tmp_path / "log") == 1
    assert converted_model(small_forward, convert, depends_on=["text", "2"]) != folder, "another version of the library"


def test_a_damaged_folder_and_one_that_was_never_finished_are_made_again(small_forward, tmp_path):
    convert = partial(write_text, tmp_path / "log")
    folder = converted_model(small_forward, convert, depends_on=["text"])
    (folder / "model.txt").write_text("another")
    assert not is_whole(folder)
    folder.with_suffix(".part").mkdir()
    assert converted_model(small_forward, convert, depends_on=["text"]) == folder
    assert is_whole(folder)
    assert conversions(tmp_path / "log") == 2


def test_replicas_that_start_together_convert_once(small_forward, tmp_path):
    """Threads, each with a lock file of its own, wait for each other as processes do."""
    convert = partial(write_text, tmp_path / "log")
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: converted_model(small_forward, convert, depends_on=["text"]), range(3)))
    assert len(set(folders)) == conversions(tmp_path / "log") == 1


def test_a_cache_that_cannot_be_written_is_named(small_forward, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"kept in .*/file/cxr_ray/engines: .*another folder in XDG_CACHE_HOME"):
        converted_model(small_forward, partial(write_text, tmp_path / "log"), depends_on=["text"])
