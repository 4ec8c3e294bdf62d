import json
import re
from dataclasses import replace

import numpy as np
import pytest

from cxr_ray.browsing.browse_predictions import browse_predictions
from cxr_ray.config.browsing import BrowseConfig
from cxr_ray.errors import ConfigError, DatasetError

MASK = np.zeros((40, 60), bool)
MASK[10:30, 10:30] = True


@pytest.fixture
def job(write_rows, rows_of, draw, tmp_path):
    """Predictions of four images, two of which are there, and a mask of one."""
    paths = {name: draw(f"{name}.png") for name in ("a", "b")}
    rows = [rows_of["scored"](f"{name}.png", "COVID", 0.9, path) for name, path in paths.items()]
    rows += [rows_of["failed"]("c.png"), rows_of["scored"]("gone.png", "Normal", 0.5)]
    scored = write_rows(rows)
    masks = write_rows([rows_of["masked"]("a.png", paths["a"], MASK)], "masks", to="segmented")
    return BrowseConfig(predictions_uri=scored, masks_uri=masks, output_uri=str(tmp_path / "page"), thumbnail_side=32)


def about_of(folder):
    page = (folder / "index.html").read_text()
    return json.loads(re.search(r'<script type="application/json" id="about">(.*?)</script>', page)[1])


def test_a_page_holds_columns_thumbnails_and_outlines(job, tmp_path, capsys):
    facts = browse_predictions(job)
    folder = tmp_path / "page"
    assert {path.name for path in (folder / "thumbnails").iterdir()} == {"00000.jpg", "00000.png"}
    about = about_of(folder)
    assert {"columns/image_id.js", "columns/confidence.js", "columns/mask_status.js"} <= set(about["scripts"])
    assert all((folder / script).exists() for script in about["scripts"])
    assert about["thumbnails"]["outlined"] == [0]
    assert facts["n_thumbnails"] == 2
    assert facts["errors_by_kind"] == {"not_found": 1}
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"4 rows, \d+ columns: \d\.\d MB", lines[0])
    assert re.fullmatch(r"2 thumbnails \(every image that could be read\): \d\.\d MB", lines[1])
    assert lines[2] == "images without a thumbnail because they cannot be read now: 1 not_found"
    assert lines[3] == f"{folder}/index.html"
    assert json.loads((folder / "run.json").read_text())["n_rows"] == 4


def test_fewer_thumbnails_are_counted_and_named(job, tmp_path, capsys):
    browse_predictions(replace(job, max_thumbnails=1, thumbnail_choice="uncertain"))
    said = "1 of 3 images that could be read, those of which the model is least sure"
    assert about_of(tmp_path / "page")["thumbnails"]["chosen"] == said
    assert f"0 thumbnails ({said})" in capsys.readouterr().out  # the least sure one is gone.png


def test_fewer_rows_are_counted_and_named(job, tmp_path, capsys):
    browse_predictions(replace(job, max_rows=2, max_thumbnails=0))
    assert capsys.readouterr().out.startswith("2 rows of 4, drawn at random, ")
    assert "drawn at random (seed 0) of 4" in (tmp_path / "page/index.html").read_text()


def test_a_second_page_replaces_the_first(job, tmp_path):
    browse_predictions(job)
    browse_predictions(replace(job, max_thumbnails=0))
    assert not (tmp_path / "page/thumbnails").exists()


def test_folders_that_no_page_wrote_are_kept(job, tmp_path):
    kept = tmp_path / "page/thumbnails/mine.jpg"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    with pytest.raises(
        ConfigError, match=r"output_uri must hold nothing else than a page of this job; .*thumbnails is"
    ):
        browse_predictions(job)
    assert kept.read_bytes() == b"mine"


def test_the_output_of_the_job_is_no_place_for_the_page(job):
    with pytest.raises(ConfigError, match="output_uri must be another folder than predictions_uri"):
        browse_predictions(replace(job, output_uri=job.predictions_uri))


def test_masks_of_other_files_are_refused(job, write_rows, rows_of, draw):
    path = draw("a.png")
    scored = write_rows([rows_of["scored"]("a.png", "COVID", 0.9, path, content_sha256="a" * 64)], to="others")
    mask = rows_of["masked"]("a.png", path, MASK, content_sha256="b" * 64)
    masks = write_rows([mask], "masks", to="others_masks")
    with pytest.raises(DatasetError, match="segmented other files than 1 of the dataset's images"):
        browse_predictions(replace(job, predictions_uri=scored, masks_uri=masks))


def test_the_page_names_no_patient_and_fetches_nothing(job, tmp_path):
    browse_predictions(job)
    page = (tmp_path / "page/index.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|@import|patient_key", page)
    assert "For research use only; not a medical device." in page


@pytest.mark.s3
def test_a_page_is_written_to_a_bucket(job, bucket_uri):
    from cxr_ray.archive.uris import exists, read_bytes

    browse_predictions(replace(job, output_uri=f"{bucket_uri}/page"))
    assert b"<!doctype html>" in read_bytes(f"{bucket_uri}/page/index.html")
    assert exists(f"{bucket_uri}/page/thumbnails/00000.png")
    browse_predictions(replace(job, output_uri=f"{bucket_uri}/page", max_thumbnails=0))
    assert not exists(f"{bucket_uri}/page/thumbnails/00000.png")
