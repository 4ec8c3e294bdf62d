"""Nothing that a job writes holds a secret or a patient's name: neither its output, nor its log, nor Ray's own files."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.archive.uris import join_uri, write_bytes
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
    """A manifest of whole and broken DICOM files, two of which have URLs with a signature."""
    whole = planted_dicom(1)
    wrong_rows = whole.replace(b"Plantedname^Pat", b"Plantedname^\\xff\\xfe\\n")
    files = {"whole": whole, "second": planted_dicom(2), "cut": whole[:-1000], "tags": whole[:700], "bytes": wrong_rows}
    for name, data in files.items():
        write_bytes(join_uri(bucket_uri, f"{name}.dcm"), data)
    uris = {name: join_uri(bucket_uri, f"{name}.dcm") for name in files}
    plain = f"{endpoint}/{bucket_uri.removeprefix('s3://')}"
    uris |= {name: f"{plain}/{name}.dcm?X-Amz-Signature=PLANTEDSIGNATURE&X-Amz-Date=1" for name in ("second", "gone")}
    return pa.table({"image_id": list(uris), "uri": list(uris.values())})


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
    }
    line = [sys.executable, str(JOB), "--input-uri", f"{tmp_path}/manifest.parquet", "--output-uri", f"{tmp_path}/out"]
    job = subprocess.run(
        [*line, "--model-uri", str(tmp_path / "model")], env=environment, capture_output=True, timeout=480, check=False
    )
    assert job.returncode == 3, job.stderr.decode()
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
    written |= {"stdout": job.stdout, "stderr": job.stderr}
    written |= {"rows": str(rows).encode(), "run.json": (tmp_path / "out" / "run.json").read_bytes()}
    assert [(str(place), secret) for place, content in written.items() for secret in PLANTED if secret in content] == []
