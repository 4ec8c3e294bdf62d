"""Training of a segmenter on a real Ray cluster: what it learns, writes, resumes and refuses, and the masks it makes."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cxr_ray.archive.tables import read_table
from cxr_ray.config import EvaluateSegmenterConfig, PrepareConfig, SegmentConfig, TrainSegmenterConfig
from cxr_ray.errors import ConfigError, DatasetError, ResumeError
from cxr_ray.evaluation.evaluate_segmenter import evaluate_segmenter
from cxr_ray.models.bundle import read_card
from cxr_ray.models.segmenter_ensemble import SegmenterCard
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.preparation.prepare_dataset import prepare_dataset
from cxr_ray.scoring.segment_archive import segment_archive
from cxr_ray.training.segmenter.train_segmenter import train_segmenter

OPTIONS = {
    "image_size": 64, "filters": (8, 16, 32, 32), "epochs": 6, "steps": 20, "cycles": 2, "momentum": 0.9,
    "learning_rate": 0.05, "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("archive"))
    return write_phantom_archive(folder, images_per_class=14, size=64, dicom_fraction=0.0, broken=0)


@pytest.fixture(scope="module")
def dataset(archive, tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("dataset") / "dataset.parquet")
    prepare_dataset(PrepareConfig(input_uri=archive.uri, output_uri=uri))
    return uri


def config_of(dataset, output, **options):
    return TrainSegmenterConfig(dataset_uri=dataset, output_uri=str(output), **OPTIONS | options)


@pytest.fixture(scope="module")
def segmenter(ray_cluster, dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("segmenter")
    train_segmenter(config_of(dataset, output))
    return output


@pytest.mark.cluster
@pytest.mark.slow
def test_lungs_are_learned_and_everything_is_written(segmenter, dataset, capsys):
    history = pq.read_table(segmenter / "history.parquet")
    assert history["epoch"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert history["members"].to_pylist() == [0, 0, 1, 0, 0, 2]
    assert history["val_dsc"][-1].as_py() > 0.9
    card = read_card(str(segmenter), SegmenterCard)
    assert (card.members, card.image_size, card.metrics["epoch"]) == (2, 64, 6)
    assert {path.name for path in segmenter.iterdir()} >= {"model.safetensors", "model.json", "run.json", "tensorboard"}
    assert not (segmenter / "_state" / "train").exists()
    train_segmenter(config_of(dataset, segmenter))
    assert "was trained by this command before" in capsys.readouterr().out
    with pytest.raises(ResumeError, match="holds a training made with cycles 2; this command has cycles 3"):
        train_segmenter(config_of(dataset, segmenter, cycles=3))


@pytest.mark.cluster
@pytest.mark.slow
def test_its_masks_are_judged_and_teach_another_segmenter(segmenter, archive, dataset, tmp_path):
    masks = tmp_path / "masks"
    segment_archive(
        SegmentConfig(
            input_uri=archive.uri, output_uri=str(masks), model_uri=str(segmenter), exclude=("*/masks/*",),
            save_overlays=True,
        )
    )  # fmt: skip
    metrics = evaluate_segmenter(
        EvaluateSegmenterConfig(predictions_uri=str(masks), dataset_uri=dataset, output_uri=str(tmp_path / "report"))
    )
    assert metrics["dsc"]["mean"] > 0.9
    rows = read_table(str(masks / "masks"))
    assert rows.num_rows == archive.images
    assert pc.min(rows["symmetry"]).as_py() > 0.4
    card = train_segmenter(
        config_of(
            dataset, tmp_path / "second", masks_uri=str(masks), uncertainty_quantile=0.8, num_workers=2, batch_size=4,
            epochs=3, cycles=1,
        )
    )  # fmt: skip
    assert card.metrics["val_dsc"] > 0.85


@pytest.mark.cluster
def test_a_dataset_without_masks_is_refused_before_anything_starts(dataset, tmp_path):
    bare = read_table(dataset)
    position = bare.column_names.index("mask_uri")
    pq.write_table(bare.set_column(position, "mask_uri", pa.nulls(bare.num_rows, pa.string())), tmp_path / "d.parquet")
    with pytest.raises(DatasetError, match="names no mask"):
        train_segmenter(config_of(str(tmp_path / "d.parquet"), tmp_path / "out"))
    is_val = pc.equal(bare["split"], "val")
    without_val_masks = pc.if_else(is_val, pa.scalar(None, pa.string()), bare["mask_uri"])
    pq.write_table(bare.set_column(position, "mask_uri", without_val_masks), tmp_path / "d.parquet")
    with pytest.raises(DatasetError, match="no val image of the dataset has a mask to learn; mask more of them"):
        train_segmenter(config_of(str(tmp_path / "d.parquet"), tmp_path / "out"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 5}, "epochs must be a multiple of --cycles 2"),
        ({"image_size": 68}, "image_size must be a multiple of 8"),
        ({"keep": 4}, "keep must be <= 3, the number of epochs of a cycle"),
        ({"deep_supervision": 3}, "deep_supervision must be 0 to 2"),
        ({"filters": (8, 8)}, "filters must be three or more numbers >= 1"),
        ({"steps": -1}, "steps must be >= 0"),
        ({"masks_uri": "m", "uncertain": "downweight"}, "uncertain downweight changes nothing without"),
        ({"mirrored": 0.3}, r"mirrored must be 0, or in \[0.5, 1\]"),
        ({"bend": 0.2}, r"bend must be in \[0, 0.1\], so that the image does not fold"),
    ],
)
def test_settings_that_contradict_each_other(options, message):
    with pytest.raises(ConfigError, match=message):
        config_of("d", "o", **options)
