"""Files that make a codec abort, hang or take 8 GB are rows, and touch no other file."""

import pytest

from tests.faults.bad_files import check, draw, score


@pytest.mark.slow
@pytest.mark.cluster
def test_a_folder_with_files_that_abort_hang_and_fill_memory(save_random, tmp_path):
    save_random(tmp_path / "model")
    names = draw(tmp_path / "in", 60, 3, size=64)
    options = ("--max-decode-seconds", "1", "--max-error-rate", "0.01")
    code, log, _ = score(tmp_path / "in", tmp_path / "out", tmp_path / "model", *options)
    assert code == 3, log
    assert "3 of 63 images are errors" in log
    check(tmp_path / "out", 60, names)
