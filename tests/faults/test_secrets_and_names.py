"""Nothing that a job writes holds a secret or a patient's name: neither its output, its logs and its metrics, nor Ray's own files."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest

from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.cluster.job_metrics import METRICS
from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.phantoms.phantom_files import Shot, dicom_bytes, dicom_of

JOB = Path(__file__).parents[2] / "jobs" / "classify_archive.py"
PLANTED = (
    b"Plantedname",
    b"PLANTEDID77",
    b"Plantedhospital",
    b"PLANTEDAWSSECRET",
    b"PLANTEDSIGNATURE",
    b"PLANTEDPATIENTSECRET",
)
"""What is planted, and must be found nowhere: tags of DICOM, the keys of the store, the query of a URL, the secret of ids."""


def planted_dicom(seed):
    """A DICOM file whose tags name a patient and a hospital, in standard and private elements."""
    shot = Shot(label="Normal", name=str(seed), suffix=".dcm", patient_id="PLANTEDID77", patient=seed, seed=seed)
    dataset = dicom_of(draw_phantom("Normal", seed=seed, size=64, patient=seed), shot)
    dataset.PatientName, dataset.PatientID, dataset.OtherPatientNames = "Plantedname^Pat", "PLANTEDID77", "Plantedname"
    dataset.InstitutionName, dataset.ReferringPhysicianName = "Plantedhospital", "Plantedname^Doc"
    dataset.StudyDescription = dataset.ImageComments = "of Plantedname, PLANTEDID77"
    dataset.private_block(0x0011, "Plantedhospital", create=True).add_new(1, "LO", "Plantedname")
    return dicom_bytes(dataset)


def planted_archive(bucket_uri, endpoint):
    """A manifest of whole and broken DICOM files, two of which have URLs with a signature, and one is named 60 times more.

    The job goes on for so long that Ray's agents have all of its metrics before it ends.
    """
    whole = planted_dicom(1)
    wrong_rows = whole.replace(b"Plantedname^Pat", b"Plantedname^\\xff\\xfe\\n")
    files = {"whole": whole, "second": planted_dicom(2), "cut": whole[:-1000], "tags": whole[:700], "bytes": wrong_rows}
    for name, data in files.items():
        write_bytes(join_uri(bucket_uri, f"{name}.dcm"), data)
    uris = {name: join_uri(bucket_uri, f"{name}.dcm") for name in files}
    plain = f"{endpoint}/{bucket_uri.removeprefix('s3://')}"
    uris |= {name: f"{plain}/{name}.dcm?X-Amz-Signature=PLANTEDSIGNATURE&X-Amz-Date=1" for name in ("second", "gone")}
    uris |= {f"whole {i}": uris["whole"] for i in range(60)}
    return pa.table({"image_id": list(uris), "uri": list(uris.values())})


def watched(line, environment, folder):
    """Run a job; returns its exit code, what it said, and the text of all its metrics that Prometheus would have read."""
    seen = {}
    with tempfile.TemporaryFile() as said:
        job = subprocess.Popen(line, env=environment, stdout=said, stderr=said)
        deadline = time.monotonic() + 480
        while job.poll() is None:
            assert time.monotonic() < deadline, "the job hangs"
            time.sleep(0.5)
            for file in folder.glob("ray/session_*/metrics_export_port_*"):
                seen |= dict.fromkeys(scraped(file.read_text()).splitlines())
        said.seek(0)
        return job.returncode, said.read(), "\n".join(seen)


def scraped(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.read().decode()
    except OSError:  # the agent starts or has ended
        return ""


def metrics_lacking(text):
    """Names of the metrics of scoring that a text of Prometheus does not hold."""
    wanted = {name for metric in METRICS if "training" not in metric.name for name in metric.exported_names}
    return wanted - {line.partition("{")[0] for line in text.splitlines()}


@pytest.mark.slow
@pytest.mark.cluster
def test_no_byte_of_a_secret_or_a_name_leaves_a_job(bucket_uri, s3, save_random, tmp_path, short_folder):
    save_random(tmp_path / "model")
    write_table(planted_archive(bucket_uri, s3), str(tmp_path / "manifest.parquet"))
    environment = {
        name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "CXR_RAY_FORKED_WORKERS")
    }
    environment |= {
        "AWS_SECRET_ACCESS_KEY": "PLANTEDAWSSECRET",
        "CXR_RAY_PATIENT_SECRET": "PLANTEDPATIENTSECRET",
        "RAY_TMPDIR": str(short_folder),
        "RAY_BACKEND_LOG_LEVEL": "info",
        "RAY_enable_metrics_collection": "1",
        "RAY_metrics_report_interval_ms": "1000",
    }
    line = [sys.executable, str(JOB), "--input-uri", f"{tmp_path}/manifest.parquet", "--output-uri", f"{tmp_path}/out"]
    line += ["--batch-size", "1", "--max-error-rate", "0.001"]
    code, said, metrics = watched([*line, "--model-uri", str(tmp_path / "model")], environment, short_folder)
    assert code == 3, said.decode()
    rows = {row["image_id"]: row for row in read_table(f"{tmp_path}/out/predictions").to_pylist()}
    assert {name for name, row in rows.items() if row["status"] == "ok"} >= {"whole", "second"}
    assert rows["gone"]["error_kind"] == "not_found"
    assert rows["whole"]["patient_key"] == rows["second"]["patient_key"] is not None
    written = {
        path: path.read_bytes()
        for root in (tmp_path / "out", short_folder)
        for path in root.rglob("*")
        if path.is_file()
    }
    assert any("session_" in str(path) for path in written)
    (kept,) = (tmp_path / "out" / "logs").iterdir()
    assert "images are errors" in json.loads(kept.read_text().splitlines()[-1])["message"]
    assert metrics_lacking(metrics) == set()
    written |= {"terminal": said, "metrics": metrics.encode(), "rows": str(rows).encode()}
    assert [(str(place), secret) for place, content in written.items() for secret in PLANTED if secret in content] == []
