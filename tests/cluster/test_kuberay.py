"""The manifests of KubeRay: each is valid, and faults that are put into them are found."""

import copy
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from cxr_ray.config import load_config
from tests.cluster.kubernetes_schemas import CRDS, documents, faults_of_custom, read_folder, unsafe

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "cluster/kuberay"
BASE = read_folder(FOLDER / "base")
OVERLAYS = ("try", "production")
needs_crds = pytest.mark.skipif(not CRDS.is_dir(), reason="the definitions of KubeRay are not in CXR_SHARED/crds")


def rendered(overlay: str) -> list[dict]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which renders overlays, is not installed")
    line = ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)]
    return documents(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def faults(manifests: list[dict]) -> list[str]:
    found = []
    for manifest in manifests:
        found += unsafe(manifest)
        if manifest["apiVersion"] == "ray.io/v1":
            found += faults_of_custom(manifest)
        else:
            kubernetes_validate = pytest.importorskip("kubernetes_validate")
            try:
                kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
            except kubernetes_validate.ValidationError as error:
                found.append(str(error))
    return found


def entry_points(manifests: list[dict]) -> list[list[str]]:
    jobs = [m["spec"].get("jobTemplate", m["spec"]) for m in manifests if m["kind"] in {"RayJob", "RayCronJob"}]
    return [shlex.split(job["entrypoint"]) for job in jobs]


def check_arguments(line: list[str]) -> None:
    """Parse the arguments with the job's own configuration, without running the job."""
    python, job, *arguments = line
    assert python == "python"
    config = next(c for n, c in runpy.run_path(str(REPOSITORY / job)).items() if n.endswith("Config"))
    load_config(config, arguments)


@needs_crds
def test_the_base_is_valid():
    pytest.importorskip("celpy")
    assert faults(BASE) == []


@needs_crds
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_valid_and_every_job_has_a_cluster(overlay):
    pytest.importorskip("celpy")
    manifests = rendered(overlay)
    assert faults(manifests) == []
    cluster = next(m["spec"] for m in manifests if m["kind"] == "RayCluster")
    jobs = [m["spec"].get("jobTemplate", m["spec"]) for m in manifests if m["kind"] in {"RayJob", "RayCronJob"}]
    assert len(jobs) == 5
    assert all(job["rayClusterSpec"] == cluster for job in jobs)


def test_manifests_are_safe():
    assert [fault for manifest in BASE for fault in unsafe(manifest)] == []


@pytest.mark.parametrize("line", entry_points(BASE), ids=lambda line: line[1])
def test_entry_points_are_commands_of_this_version(line):
    check_arguments(line)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_entry_points_of_overlays_are_commands_of_this_version(overlay):
    for line in entry_points(rendered(overlay)):
        check_arguments(line)


def test_the_patient_secret_is_on_the_head_alone():
    cluster = next(m["spec"] for m in BASE if m["kind"] == "RayCluster")
    groups = {"head": cluster["headGroupSpec"], **{g["groupName"]: g for g in cluster["workerGroupSpecs"]}}
    names = {n: {v["name"] for v in g["template"]["spec"]["containers"][0]["env"]} for n, g in groups.items()}
    assert {name for name, variables in names.items() if "CXR_RAY_PATIENT_SECRET" in variables} == {"head"}


RULES = ("deletionStrategy", "deletionRules")
HEAD = ("spec", "headGroupSpec", "template", "spec")
SEEDED = {
    "typo": ("RayCluster", ("spec", "enableInTreeAutoscalling"), True, "enableInTreeAutoscalling: unknown field"),
    "typo in a pod": ("RayCluster", (*HEAD, "containers", 0, "volumeMount"), [], "volumeMount: unknown field"),
    "wrong type": ("RayCluster", ("spec", "workerGroupSpecs", 0, "maxReplicas"), "8", "is not of type 'integer'"),
    "missing": ("RayCluster", ("spec", "workerGroupSpecs", 0, "groupName"), None, "'groupName' is a required"),
    "unknown version": ("RayCluster", ("spec", "autoscalerOptions", "version"), "v3", "'v3' is not one of"),
    "two deletions": ("RayJob", ("spec", "shutdownAfterJobFinishes"), True, "exclude each other"),
    "CEL": ("RayJob", ("spec", *RULES, 0, "condition", "jobDeploymentStatus"), "Failed", "cannot be used together"),
    "CEL of a cron job": ("RayCronJob", ("spec", "jobTemplate", "deletionStrategy"), {}, "requires either BOTH"),
    "unknown policy": ("RayJob", ("spec", *RULES, 0, "policy"), "DeleteAll", "'DeleteAll' is not one of"),
    "no end": ("RayJob", ("spec", "activeDeadlineSeconds"), None, "activeDeadlineSeconds is missing"),
    "retries": ("RayJob", ("spec", "backoffLimit"), 100, "backoffLimit is above 3"),
    "no schedule": ("RayCronJob", ("spec", "schedule"), None, "'schedule' is a required"),
    "open port": ("RayCluster", ("spec", "headGroupSpec", "serviceType"), "LoadBalancer", "opens a port"),
    "clear secret": (
        "RayCluster",
        (*HEAD, "containers", 0, "env", 4),
        {"name": "A_SECRET", "value": "x"},
        "in the clear",
    ),
    "everybody": ("NetworkPolicy", ("spec", "ingress", 0, "from"), None, "lets everybody in"),
    "no token": ("RayCluster", ("spec", "authOptions", "mode"), "disabled", "authOptions.mode: disabled"),
    "built-in typo": ("CronJob", ("spec", "concurrencyPolice"), "Forbid", "concurrencyPolice"),
}


@needs_crds
@pytest.mark.parametrize("name", SEEDED)
def test_a_seeded_fault_is_found(name):
    pytest.importorskip("celpy")
    kind, (*parents, last), value, message = SEEDED[name]
    manifest = copy.deepcopy(next(m for m in BASE if m["kind"] == kind))
    part = manifest
    for parent in parents:
        part = part[parent]
    if value is None:
        del part[last]
    else:
        part[last] = value
    found = faults([manifest])
    assert any(message in fault for fault in found), found
