"""Tests of the classification job on a real Ray cluster: rows, errors, gates, resume, several models, S3."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cxr_ray.archive.manifest import index_archive
from cxr_ray.archive.tables import read_table
from cxr_ray.config import ClassifyConfig, IndexConfig
from cxr_ray.errors import BundleError, ClusterError, ConfigError, GateError, ResumeError, StorageError
from cxr_ray.imaging.radiograph import load_image
from cxr_ray.models.backbones import build_backbone, build_network
from cxr_ray.models.bundle import save_bundle
from cxr_ray.models.classifier import Classifier, forward_pass
from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.models.engines.converted_model import SUMS, sums_of
from cxr_ray.models.engines.quantize import quantize
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.schema import LABELS
from cxr_ray.scoring.blocks import default_block_rows
from cxr_ray.scoring.classify_archive import classify_archive

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
REPOSITORY = Path(__file__).parents[2]
ENGINES = Path(os.environ["XDG_CACHE_HOME"], "cxr_ray/engines")
PHANTOMS = {"images_per_class": 6, "size": 64, "broken": 5, "dicom_fraction": 0.3}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of 24 drawn phantoms in every format, with five broken files."""
    return write_phantom_archive(str(tmp_path_factory.mktemp("archive")), **PHANTOMS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("bundle"), seed=0)


@pytest.fixture(scope="module")
def scored_once(ray_cluster, archive, bundle, tmp_path_factory):
    """An output with a row for every file of `archive`; so many are errors that the gate fails."""
    output = tmp_path_factory.mktemp("scored")
    with pytest.raises(GateError, match=r"5 of .* images are errors .*--max-error-rate 0.01"):
        classify(archive.uri, bundle, output, max_error_rate=0.01, precision="fp32")
    return output


@pytest.fixture
def scored(scored_once, tmp_path):
    """A copy of `scored_once` that a test may change."""
    return Path(shutil.copytree(scored_once, tmp_path / "scored"))


def random_bundle(folder, *, seed, image_size=32):
    import torch

    torch.manual_seed(seed)
    model = build_backbone("efficientnet_b0", num_classes=len(LABELS), image_size=image_size)
    card = {"kind": "classifier", "backbone": "efficientnet_b0", "labels": LABELS, "image_size": image_size}
    save_bundle(str(folder), model.state_dict(), **card)
    return str(folder)


def classify(input_uri, models, output, **options):
    models = models if isinstance(models, tuple) else (models,)
    options = {"max_error_rate": 1.0, "exclude": ("*/masks/*",), "precision": "fp32"} | options
    return classify_archive(
        ClassifyConfig(input_uri=str(input_uri), model_uri=models, output_uri=str(output), **options)
    )


def rows_of(output) -> pa.Table:
    return read_table(f"{output}/predictions").sort_by("image_id")


def files_of(archive) -> int:
    return archive.images + len(archive.broken)


def test_every_file_is_one_row_and_a_broken_file_is_no_crash(scored_once, archive):
    rows = rows_of(scored_once)
    assert rows.num_rows == files_of(archive) == len(set(rows["image_id"].to_pylist()))
    kinds = dict(zip(rows["image_id"].to_pylist(), rows["error_kind"].to_pylist(), strict=True))
    assert {name: kinds[name] for name, _ in archive.broken} == dict(archive.broken)
    ok = rows.filter(pc.equal(rows["status"], "ok"))
    assert ok["label"].null_count == 0
    assert ok["qc_flags"].null_count == 0
    assert rows["qc_flags"].null_count == len(archive.broken)
    total = sum(ok[c].to_numpy() for c in ok.column_names if c.startswith("prob_"))
    np.testing.assert_allclose(total, 1, atol=1e-3)
    record = json.loads((scored_once / "run.json").read_text())
    assert (record["counts"]["ok"], record["counts"]["error"]) == (archive.images, len(archive.broken))
    assert set(rows["run_id"].to_pylist()) == {record["run_id"]}
    assert set(rows["engine"].to_pylist()) == {"openvino"}
    assert (record["state"], record["pool"]["device"]) == ("finished", "cpu")


def test_a_scheduler_that_starts_a_job_again_after_its_gate_failed_wastes_no_work(scored, archive, bundle):
    rows = rows_of(scored)
    with pytest.raises(GateError, match=r"5 of .* images are errors"):
        classify(archive.uri, bundle, scored, max_error_rate=0.01)
    assert rows_of(scored).equals(rows)
    record = json.loads((scored / "run.json").read_text())
    assert (record["images_scored"], record["images_done_before"]) == (0, files_of(archive))


def test_an_engine_that_disagrees_with_torch_is_passed_over_and_one_line_says_so(ray_cluster, archive, tmp_path):
    bundle = random_bundle(tmp_path / "bundle", seed=11)
    before = set(ENGINES.glob("*/reference.npy"))
    Classifier(bundle, device="cpu", engine="openvino", precision="fp32")  # converts the model where workers find it
    (reference,) = set(ENGINES.glob("*/reference.npy")) - before
    np.save(reference, 1 - np.load(reference))
    (reference.parent / SUMS).write_text(json.dumps(sums_of(reference.parent)))
    classify(archive.uri, bundle, tmp_path / "out")
    assert set(rows_of(tmp_path / "out")["engine"].to_pylist()) == {"torch"}
    (log,) = (tmp_path / "out/logs").iterdir()
    assert log.read_text().count("is not computed by the engine openvino: 100.0% of its probabilities differ") == 1


def test_a_bundle_with_an_int8_network_is_scored_in_int8(ray_cluster, tmp_path):
    torch_net = build_network("test_resnet", num_classes=2, image_size=32, options={})
    card = {"backbone": "test_resnet", "network": {}, "labels": ("a", "b"), "image_size": 32}
    uri = str(tmp_path / "bundle")
    original = save_bundle(uri, torch_net.state_dict(), **card)
    network = quantize(forward_pass(uri, original), check_pixels(32))
    written = save_bundle(uri, torch_net.state_dict() | network.tensors(), **card, precision="int8")
    (tmp_path / "in").mkdir()
    for seed in range(3):
        save_noise(tmp_path / f"in/{seed}.png", seed)
    classify(tmp_path / "in", uri, tmp_path / "out", precision="auto")
    rows = rows_of(tmp_path / "out")
    assert rows["status"].to_pylist() == ["ok"] * 3
    said = {name: set(rows[name].to_pylist()) for name in ("engine", "precision", "model_id")}
    assert said == {"engine": {"openvino"}, "precision": {"int8"}, "model_id": {written.model_id}}
    expected = Classifier(uri, device="cpu", precision="fp32")
    for row in rows.to_pylist():
        assert row["prob_a"] == pytest.approx(expected.classify(load_image(row["uri"])).probabilities["a"], abs=0.05)
    classify(tmp_path / "in", uri, tmp_path / "exact", precision="fp32")
    assert set(rows_of(tmp_path / "exact")["precision"].to_pylist()) == {"fp32"}, "the original is in the bundle, too"


def test_the_log_of_a_run_is_kept_beside_its_rows(scored_once):
    record = json.loads((scored_once / "run.json").read_text())
    text = (scored_once / "logs" / f"{record['run_id']}.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["run_id"] for line in lines} == {record["run_id"]}
    said = [line["message"] for line in lines]
    assert any("images scored in" in line for line in said), "what is printed is kept, too"
    assert "images are errors" in said[-1]


def test_no_output_identifies_a_patient(scored_once):
    rows = rows_of(scored_once)
    dicom = rows.filter(pc.is_valid(rows["study_uid"]))
    assert dicom.num_rows > 0
    assert dicom["patient_key"].null_count == 0
    text = str(rows.to_pylist()) + (scored_once / "run.json").read_text()
    for identity in ("Phantom^", "19700101"):
        assert identity not in text


def test_a_second_run_scores_only_what_is_due(ray_cluster, bundle, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    save_noise(folder / "a.png", 1)
    (folder / "b.png").write_bytes(b"not yet an image")
    classify(folder, bundle, output)
    first = rows_of(output)
    save_noise(folder / "b.png", 2)
    save_noise(folder / "c #1 %.png", 3)
    classify(folder, bundle, output)
    second = rows_of(output)
    assert second["image_id"].to_pylist() == ["a.png", "b.png", "c #1 %.png"]
    assert second["run_id"].to_pylist()[:2] == first["run_id"].to_pylist()
    assert second["status"].to_pylist() == ["ok", "error", "ok"]
    classify(folder, bundle, output, retry_errors=True)
    third = rows_of(output)
    assert third["status"].to_pylist() == ["ok"] * 3
    assert third["run_id"].to_pylist()[0] == first["run_id"].to_pylist()[0] != third["run_id"].to_pylist()[1]


def test_another_model_on_the_same_output_is_refused(scored, archive, bundle, tmp_path):
    other = random_bundle(tmp_path / "other", seed=1)
    with pytest.raises(
        ResumeError, match=r"rows made with model efficientnet_b0-\w+; this command has model efficient"
    ):
        classify(archive.uri, other, scored)
    with pytest.raises(ResumeError, match="holds rows made with precision fp32; this command has precision auto"):
        classify(archive.uri, bundle, scored, precision="auto")
    with pytest.raises(ResumeError, match=r"holds rows made with exclude '\*/masks/\*'; this command has exclude none"):
        classify(archive.uri, bundle, scored, exclude=())
    before = rows_of(scored)
    classify(archive.uri, other, scored, overwrite=True)
    after = rows_of(scored)
    assert after["image_id"] == before["image_id"]
    assert not set(after["model_id"].to_pylist()) & set(before["model_id"].to_pylist())


def test_rows_that_an_earlier_version_wrote_are_continued_in_the_same_columns_and_refused_in_others(
    scored, archive, bundle
):
    """The documented query of the output reads the files of both versions as one table."""
    query = f"SELECT count(DISTINCT image_id), count(entropy) FROM '{scored}/predictions/*.parquet'"
    identity = scored / "_state/predictions/job.json"
    values = json.loads(identity.read_text())
    identity.write_text(json.dumps(dict(reversed(values.items()))))  # the order in which another version may store them
    (path,) = (scored / "predictions").glob("*.parquet")
    pq.write_table(pq.read_table(path).slice(3), path)  # as if the run had been stopped before the last three images
    classify(archive.uri, bundle, scored)
    assert len(list(path.parent.iterdir())) == 2
    assert json.loads(identity.read_text()) == values
    assert duckdb.sql(query).fetchall() == [(files_of(archive), archive.images)]
    for path in (scored / "predictions").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["entropy"]), path)
    with pytest.raises(ResumeError, match=r"holds rows without the column entropy, which this .* --overwrite to start"):
        classify(archive.uri, bundle, scored)


def test_several_models_share_one_pass_and_their_mean_leads(scored_once, archive, bundle, tmp_path):
    other = random_bundle(tmp_path / "other", seed=1, image_size=48)
    classify(archive.uri, (bundle, other), tmp_path / "both")
    first, both = rows_of(scored_once), rows_of(tmp_path / "both")
    ok = pc.equal(both["status"], "ok")
    joint = both.filter(ok)
    model = Classifier(other)
    second = [model.classify(load_image(uri)).probabilities for uri in joint["uri"].to_pylist()]
    for label in ("COVID", "Normal"):
        column = f"prob_{label.lower()}"
        alone = [first.filter(ok)[column].to_numpy(), np.array([probs[label] for probs in second])]
        np.testing.assert_allclose(joint[f"efficientnet_b0_{column}"].to_numpy(), alone[0], atol=1e-5)
        np.testing.assert_allclose(joint[f"efficientnet_b0_2_{column}"].to_numpy(), alone[1], atol=1e-5)
        np.testing.assert_allclose(joint[column].to_numpy(), np.mean(alone, axis=0), atol=1e-5)


def test_a_manifest_is_scored_as_its_archive_is_and_a_vanished_object_is_a_row(scored_once, archive, bundle, tmp_path):
    index = IndexConfig(input_uri=archive.uri, output_uri=str(tmp_path / "manifest"), exclude=("*/masks/*",))
    index_archive(index)
    (path,) = (tmp_path / "manifest").glob("*.parquet")
    listed = pq.read_table(path, columns=["image_id", "uri"])
    gone = pa.table({"image_id": ["~gone"], "uri": [str(tmp_path / "gone.png")]})  # the last of all names
    pq.write_table(pa.concat_tables([listed, gone.cast(listed.schema)]), path)
    classify(path, bundle, tmp_path / "listed", exclude=())
    rows = rows_of(tmp_path / "listed")
    columns = ["image_id", "status", "content_sha256", "label"]
    assert rows_of(scored_once).select(columns) == rows.slice(0, rows.num_rows - 1).select(columns)
    assert rows["error_kind"].to_pylist()[-1] == "not_found"


def test_a_manifest_that_names_an_image_twice_is_refused(ray_cluster, bundle, tmp_path):
    uri = str(tmp_path / "a.png")
    pq.write_table(pa.table({"image_id": ["a", "a"], "uri": [uri, uri]}), tmp_path / "m.parquet")
    with pytest.raises(StorageError, match="names image_id 'a' more than once"):
        classify(tmp_path / "m.parquet", bundle, tmp_path / "out", exclude=())


def test_a_job_that_cannot_be_scheduled_says_so_at_once(ray_cluster, archive, bundle, tmp_path):
    began = time.monotonic()
    with pytest.raises(ClusterError, match="1 GPU actors were asked for and the cluster has 0 GPUs"):
        classify(archive.uri, bundle, tmp_path, device="cuda")
    with pytest.raises(ClusterError, match="99 actors were asked for and the cluster has 2 CPUs"):
        classify(archive.uri, bundle, tmp_path, num_actors=99)
    assert time.monotonic() - began < 10
    assert not (tmp_path / "_state/predictions/job.json").exists()


def test_a_job_that_cannot_start_deletes_nothing(scored, archive, bundle, tmp_path):
    before = {path: path.read_bytes() for path in scored.rglob("*") if path.is_file()}
    with pytest.raises(ClusterError, match="99 actors"):
        classify(archive.uri, bundle, scored, overwrite=True, num_actors=99)
    with pytest.raises(StorageError, match="nothing exists at"):
        classify(tmp_path / "nowhere", bundle, scored, overwrite=True)
    after = {path: path.read_bytes() for path in scored.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path.parent.name for path in after.keys() - before.keys()} == {"logs"}, "the failures are kept"


def test_the_same_command_deletes_repeated_rows(scored, archive, bundle):
    first = rows_of(scored)
    for kind, suffix in (("predictions", "-0.parquet"), ("_state/predictions/checkpoint", ".parquet")):
        (path,) = (scored / kind).glob("*.parquet")
        (path.parent / f"0123_000000{suffix}").write_bytes(path.read_bytes())
    assert rows_of(scored).num_rows == 2 * first.num_rows
    counts = classify(archive.uri, bundle, scored)
    assert (counts["ok"], counts["error"]) == (archive.images, len(archive.broken))
    assert rows_of(scored) == first


def test_a_missing_bundle_is_named_before_anything_starts(tmp_path):
    with pytest.raises(BundleError, match=r"no model bundle at .*/nowhere"):
        classify(tmp_path, str(tmp_path / "nowhere"), tmp_path / "out")


@pytest.mark.s3
def test_an_archive_in_s3_gives_the_rows_that_it_gives_on_disk(scored_once, bucket_uri, bundle):
    output = f"{bucket_uri}/out %41 #2"
    remote = write_phantom_archive(f"{bucket_uri}/chest x-rays #1", **PHANTOMS)
    classify(remote.uri, bundle, output)
    columns = ["image_id", "status", "error_kind", "format", "width", "content_sha256", "label"]
    in_s3 = rows_of(output)
    assert rows_of(scored_once).select(columns) == in_s3.select(columns)
    classify(remote.uri, bundle, output)
    assert rows_of(output) == in_s3


def test_the_terminal_of_a_job_holds_its_own_lines_only(archive, bundle, tmp_path):
    """A first run, which fails the gate, and a second with nothing left to do, on clusters as Ray alone starts them."""
    line = [sys.executable, str(REPOSITORY / "jobs/classify_archive.py"), "--input-uri", archive.uri]
    line += ["--model-uri", bundle, "--output-uri", f"{tmp_path}/out", "--num-actors", "2", "--exclude", "*/masks/*"]
    hidden = ("RAY_ADDRESS", "PYTHONWARNINGS", "RAY_BACKEND_LOG_LEVEL", "CXR_RAY_FORKED_WORKERS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["XDG_CONFIG_HOME"] = str(tmp_path)  # the first job of a user logs where its secret is
    for scored in (files_of(archive), 0):
        job = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=480, check=False)
        assert job.returncode == 3, job.stderr
        *lines, last = job.stderr.splitlines()
        assert [text for text in lines if not re.match(r"\d\d:\d\d:\d\d I ", text)] == []
        assert lines[0][11:].startswith(
            f"classify_archive: input {archive.uri}, output {tmp_path}/out, model {bundle}; "
        )
        assert f"{scored} images to score, {files_of(archive) - scored} done before" in "\n".join(lines)
        assert last.startswith("error: 5 of ")
        assert len(job.stdout.splitlines()) == (2 if scored else 1)


def test_a_killed_driver_loses_no_row_and_repeats_none(bundle, tmp_path):
    """The driver is killed while it commits blocks, and the same command resumes; before, other runs are refused."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(200):
        save_noise(folder / f"{i:03}.png", i)
    line = [sys.executable, str(REPOSITORY / "jobs/classify_archive.py"), "--input-uri", str(folder)]
    line += ["--model-uri", bundle, "--output-uri", str(output), "--rows-per-block", "8", "--batch-size", "8"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    job = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (output / "_state/predictions.owner.json").exists():
        assert job.poll() is None
        time.sleep(0.02)
    with pytest.raises(ResumeError, match=rf"\(process {job.pid}\) is writing to {output}; wait until it ends, stop"):
        classify(folder, bundle, output, overwrite=True, exclude=())
    while len(list(output.glob("_state/predictions/checkpoint/*.parquet"))) < 3:
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    again = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=480, check=False)
    assert again.returncode == 0, again.stderr
    rows = rows_of(output)
    assert rows["image_id"].to_pylist() == [f"{i:03}.png" for i in range(200)]
    left = {str(path.relative_to(output / "_state")) for path in (output / "_state").rglob("*.*")}
    assert {name for name in left if "checkpoint" not in name} == {
        "predictions/job.json",
        "predictions/manifest.parquet",
    }
    record = json.loads((output / "run.json").read_text())
    runs = {run["values"]: run["counts"] for run in rows["run_id"].value_counts().to_pylist()}
    assert len(runs) == 2, "rows committed before the kill keep the id of their run"
    assert runs[record["run_id"]] == record["images_scored"] < 200


def test_block_size_is_a_fiftieth_within_bounds():
    assert [default_block_rows(n, 2) for n in (2_601, 10_000, 10_000_000)] == [64, 200, 8192]


def test_every_load_task_of_a_large_cluster_gets_four_blocks():
    for images in (10_000, 1_000_000, 10_000_000):
        assert -(-images // default_block_rows(images, 100)) >= 400
    assert default_block_rows(100, 100) == 16, "loading fewer images takes less time than starting a task"


def save_noise(path, seed):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50), np.uint8)).save(path)


def test_an_output_that_is_the_input_is_refused_before_anything_is_written(bundle, tmp_path):
    with pytest.raises(ConfigError, match=r"output_uri must be another folder than input_uri; got .* for both"):
        classify(tmp_path, bundle, f"{tmp_path}/")
    assert list(tmp_path.iterdir()) == []
