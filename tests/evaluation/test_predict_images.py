"""Every image gets its line and picture, a broken image is reported, and Ray is not loaded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_ray.config import PredictConfig
from cxr_ray.errors import BundleError, ConfigError, CxrRayError
from cxr_ray.evaluation.predict_images import predict_images
from cxr_ray.imaging.radiograph import load_image
from cxr_ray.models.classifier import Classifier
from cxr_ray.phantoms.phantom import draw_phantom

JOB = Path(__file__).parents[2] / "jobs" / "predict_image.py"
JOB_AND_MODULES = """
import atexit, runpy, sys
job, *sys.argv[1:] = sys.argv[1:]
atexit.register(lambda: print("loaded", *sys.modules, file=sys.stderr))
runpy.run_path(job, run_name="__main__")
"""


@pytest.fixture(scope="module")
def bundle(save_random, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    save_random(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folder with two readable files of one name, and a broken one between them."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(("a/film.png", "b/film.jpg")):
        path = folder / name
        path.parent.mkdir()
        Image.fromarray(draw_phantom("Normal", seed=number, size=96).pixels).save(path)
    (folder / "cut.png").write_bytes((folder / "a/film.png").read_bytes()[:500])
    return folder


@pytest.mark.slow
def test_every_image_has_its_line_and_a_broken_one_fails_the_job_at_the_end(
    bundle, segmenter_uri, pictures, tmp_path, capsys
):
    images = tuple(str(pictures / name) for name in ("a/film.png", "cut.png", "b/film.jpg"))
    config = PredictConfig(
        images=images, model_uri=bundle, segmenter_uri=segmenter_uri, output_uri=str(tmp_path / "out")
    )
    with pytest.raises(CxrRayError, match="1 of 3 images could not be scored"):
        predict_images(config)
    heading, first, broken, last = capsys.readouterr().out.splitlines()
    assert heading.split() == [
        "image",
        "label",
        "COVID",
        "Lung_Opacity",
        "Normal",
        "Viral_Pneumonia",
        "lungs",
        "uncertainty",
    ]
    assert "film.png" in first
    assert "  error: truncated: " in broken
    assert "film.jpg" in last
    expected = Classifier(bundle).classify(load_image(images[0]))
    assert first.split()[1] == expected.label
    assert first.split()[2:6] == [f"{probability:.4f}" for probability in expected.probabilities.values()]
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["film_2_prediction.png", "film_prediction.png"]
    shown = [np.asarray(Image.open(path)) for path in written]
    assert shown[0].shape == shown[1].shape == (900, 2130, 4)
    assert (shown[0] != shown[1]).any(), "each picture shows its own image"


@pytest.mark.slow
def test_an_image_is_never_written_over_by_a_picture(bundle, tmp_path):
    for name in ("x.png", "x_prediction.png"):
        Image.fromarray(draw_phantom("COVID", seed=4, size=64).pixels).save(tmp_path / name)
    before = (tmp_path / "x_prediction.png").read_bytes()
    images = (str(tmp_path / "x.png"), str(tmp_path / "x_prediction.png"))
    predict_images(PredictConfig(images=images, model_uri=bundle, output_uri=str(tmp_path)))
    assert (tmp_path / "x_prediction.png").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.png", "x_prediction.png", "x_2_prediction.png", "x_prediction_prediction.png",
    }  # fmt: skip


@pytest.mark.slow
def test_a_single_label_that_is_absent_is_drawn_as_well(save_random, pictures, tmp_path, capsys):
    save_random(tmp_path / "bundle", labels=("Pneumonia",))
    image = str(pictures / "a/film.png")
    predict_images(PredictConfig(images=(image,), model_uri=str(tmp_path / "bundle"), output_uri=str(tmp_path / "out")))
    assert "Pneumonia" in capsys.readouterr().out.splitlines()[1]
    assert (tmp_path / "out" / "film_prediction.png").is_file()


def test_limits_are_those_of_the_command_line(bundle, pictures, capsys):
    config = PredictConfig(images=(str(pictures / "a/film.png"),), model_uri=bundle, max_megapixels=0.001)
    with pytest.raises(CxrRayError, match="1 of 1 image could not be scored"):
        predict_images(config)
    assert "error: too_large: " in capsys.readouterr().out


def test_a_wrong_bundle_fails_before_any_line(bundle, segmenter_uri, capsys):
    with pytest.raises(BundleError, match="a bundle of kind 'segmenter'; a 'classifier' is needed here"):
        predict_images(PredictConfig(images=("a.png",), model_uri=segmenter_uri))
    with pytest.raises(BundleError, match="a bundle of kind 'classifier'; a 'segmenter' is needed here"):
        predict_images(PredictConfig(images=("a.png",), model_uri=bundle, segmenter_uri=bundle))
    assert capsys.readouterr().out == ""


def test_a_gpu_that_is_not_there_is_refused(bundle, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="device must be cpu or auto where PyTorch sees no GPU"):
        predict_images(PredictConfig(images=("a.png",), model_uri=bundle, device="cuda"))


@pytest.mark.slow
def test_the_job_starts_no_ray_and_ends_with_the_code_of_its_outcome(bundle, segmenter_uri, pictures, tmp_path):
    def run(*images):
        line = [*images, "--model-uri", bundle, "--segmenter-uri", segmenter_uri, "--output-uri", str(tmp_path)]
        command = [sys.executable, "-c", JOB_AND_MODULES, str(JOB), *map(str, line)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    ended = run(pictures / "cut.png", pictures / "a/film.png")
    assert ended.returncode == 1
    messages, loaded = ended.stderr.split("loaded ")
    assert "ray" not in loaded.split()
    assert messages.splitlines()[-1] == "error: 1 of 2 images could not be scored; the table gives the reason"
    assert "Traceback" not in messages
    assert len(ended.stdout.splitlines()) == 3
    assert (tmp_path / "film_prediction.png").is_file()
