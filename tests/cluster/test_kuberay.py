"""The manifests of KubeRay: each is valid, and faults that are put into them are found."""

import copy
import re
import runpy
import shlex
import shutil
import string
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

import cxr_ray
from cxr_ray.config import load_config
from tests.cluster.kubernetes_schemas import CRDS, documents, faults_of_custom, read_folder, unsafe

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "cluster/kuberay"
BASE = read_folder(FOLDER / "base") + read_folder(FOLDER / "base/jobs")
OVERLAYS = ("try", "production")
needs_crds = pytest.mark.skipif(not CRDS.is_dir(), reason="the definitions of KubeRay are not in CXR_SHARED/crds")


@cache
def rendered(overlay: str, folder: str = "", *, root: Path = FOLDER) -> list[dict]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which renders overlays, is not installed")
    line = ["kubectl", "kustomize", str(root / "overlays" / overlay / folder)]
    return documents(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def specs_of_jobs(manifests: list[dict]) -> list[dict]:
    return [m["spec"].get("jobTemplate", m["spec"]) for m in manifests if m["kind"] in {"RayJob", "RayCronJob"}]


def cluster_of(manifests: list[dict]) -> dict:
    return next(m["spec"] for m in manifests if m["kind"] == "RayCluster")


def pods_of(cluster: dict) -> dict[str, dict]:
    """The pod of the head and of each group of workers."""
    groups = {"head": cluster["headGroupSpec"], **{g["groupName"]: g for g in cluster["workerGroupSpecs"]}}
    return {name: group["template"]["spec"] for name, group in groups.items()}


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


def entry_points(manifests: list[dict], settings: dict[str, str]) -> list[list[str]]:
    """The arguments of each job, as the shell of what submits it expands the settings."""
    return [shlex.split(string.Template(job["entrypoint"]).substitute(settings)) for job in specs_of_jobs(manifests)]


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
    manifests = rendered(overlay, "jobs")
    assert faults(rendered(overlay) + manifests) == []
    jobs = specs_of_jobs(manifests)
    assert len(jobs) == 5
    assert all(job["rayClusterSpec"] == cluster_of(manifests) for job in jobs)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_starts_nothing_and_its_jobs_start_one_by_one(overlay):
    assert {m["kind"] for m in rendered(overlay)} == {"ConfigMap", "NetworkPolicy", "ServiceAccount"}
    components = [
        m["metadata"]["labels"]["app.kubernetes.io/component"]
        for m in rendered(overlay, "jobs")
        if m["kind"] in {"RayCluster", "RayJob", "RayCronJob", "CronJob"}
    ]
    assert sorted(components) == sorted({*components})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_image_bucket_and_region_are_set_in_one_file(overlay, tmp_path):
    root = shutil.copytree(FOLDER, tmp_path / "kuberay")
    settings = root / "overlays" / overlay / "settings/kustomization.yaml"
    text = settings.read_text()
    image = re.search(r"newName: (\S+),", text)
    text = text.replace(image[1], "mine/cxr-ray") if image else text.replace("newTag", "newName: mine/cxr-ray, newTag")
    settings.write_text(text.replace("s3://example-bucket", "gs://mine").replace("us-east-1", "mine-1"))
    manifests = rendered(overlay, root=root) + rendered(overlay, "jobs", root=root)
    (data,) = {tuple(sorted(m["data"].items())) for m in manifests if m["kind"] == "ConfigMap"}
    assert {"BUCKET_URI": "gs://mine", "AWS_DEFAULT_REGION": "mine-1"}.items() <= dict(data).items()
    pods = [*pods_of(cluster_of(manifests)).values()]
    pods += [job["submitterPodTemplate"]["spec"] for job in specs_of_jobs(manifests)]
    for container in (pod["containers"][0] for pod in pods):
        assert container["image"] == f"mine/cxr-ray:{cxr_ray.__version__}"
        assert container["envFrom"] == [{"configMapRef": {"name": "cxr-ray-settings"}}]
    assert not re.search("example-bucket|us-east-1", str(manifests))


UNITS = {"m": 0.001, "Mi": 2**20, "Gi": 2**30, "": 1}


def quantity(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text).groups()
    return float(number) * UNITS[unit]


def test_the_small_overlay_leaves_a_cpu_and_a_gibibyte_of_its_node_to_others():
    manifests = rendered("try", "jobs")
    cluster = cluster_of(manifests)
    counts = {"head": 1, **{group["groupName"]: group["maxReplicas"] for group in cluster["workerGroupSpecs"]}}
    pods = [(pod["containers"][0]["resources"], counts[name]) for name, pod in pods_of(cluster).items()]
    pods.append((cluster["autoscalerOptions"]["resources"], 1))
    for job in specs_of_jobs(manifests):
        submitter = job["submitterPodTemplate"]["spec"]["containers"][0]["resources"]
        asked = [(resources["requests"], count) for resources, count in [*pods, (submitter, 1)]]
        assert sum(quantity(requests["cpu"]) * count for requests, count in asked) <= 3
        assert sum(quantity(requests["memory"]) * count for requests, count in asked) <= 11 * 2**30


def test_manifests_are_safe():
    assert [fault for manifest in BASE for fault in unsafe(manifest)] == []


@pytest.mark.parametrize("line", entry_points(BASE, {"BUCKET_URI": "s3://bucket"}), ids=lambda line: line[1])
def test_entry_points_are_commands_of_this_version(line):
    check_arguments(line)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_entry_points_of_overlays_are_commands_of_this_version(overlay):
    manifests = rendered(overlay, "jobs")
    settings = next(m["data"] for m in manifests if m["kind"] == "ConfigMap")
    for line in entry_points(manifests, settings):
        check_arguments(line)


def test_the_patient_secret_is_on_the_head_alone():
    names = {n: {v["name"] for v in pod["containers"][0]["env"]} for n, pod in pods_of(cluster_of(BASE)).items()}
    assert {name for name, variables in names.items() if "CXR_RAY_PATIENT_SECRET" in variables} == {"head"}


VCPUS = {"xlarge": 4, "2xlarge": 8, "4xlarge": 16}
"""Processors of the machines in eks.yaml, by their size; each has 4 GiB for one of them."""


def test_the_pools_on_aws_take_the_pods_of_the_production_overlay():
    cluster = cluster_of(rendered("production", "jobs"))
    most = {"head": 1, **{group["groupName"]: group["maxReplicas"] for group in cluster["workerGroupSpecs"]}}
    pools = {p["name"]: p for p in yaml.safe_load((FOLDER / "eks.yaml").read_text())["managedNodeGroups"]}
    for name, pod in pods_of(cluster).items():
        pool, requests = pools[name], pod["containers"][0]["resources"]["requests"]
        assert pod["nodeSelector"] == pool["labels"]
        assert pool["maxSize"] >= most[name]
        assert {taint["key"] for taint in pool.get("taints", ())} == {t["key"] for t in pod.get("tolerations", ())}
        assert pool["propagateASGTags"]
        for machine in pool.get("instanceTypes") or [pool["instanceType"]]:
            vcpus = VCPUS[machine.split(".")[1]]
            assert quantity(requests["cpu"]) <= vcpus - 1  # Kubernetes keeps a part of each machine
            assert quantity(requests["memory"]) <= vcpus * 4 * 2**30 * 5 / 6
    assert {name for name, pool in pools.items() if pool["minSize"] > 0} == {"head"}


def test_the_guide_names_folders_and_components_that_exist_in_lines_that_a_shell_reads():
    guide = (FOLDER / "README.md").read_text()
    labels = {m["metadata"]["labels"]["app.kubernetes.io/component"] for m in rendered("production", "jobs")}
    assert {*re.findall(r"component=([\w-]+)", guide)} - {"submitter"} <= labels
    assert all((REPOSITORY / path).exists() for path in re.findall(r"cluster/kuberay/[\w/.-]+\w", guide))
    assert {*re.findall(r"cxr-ray:(\d[\d.]*\d)", guide)} == {cxr_ray.__version__}
    lines = "".join(re.findall(r"```sh\n(.*?)```", guide, re.DOTALL))
    read = subprocess.run(["bash", "-n"], input=lines, capture_output=True, text=True, check=False)
    assert read.stderr == ""


RULES = ("deletionStrategy", "deletionRules")
HEAD = ("spec", "headGroupSpec", "template", "spec")
CONTAINER = (*HEAD, "containers", 0)
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
    "clear secret": ("RayCluster", (*CONTAINER, "env", 4), {"name": "A_SECRET", "value": "x"}, "in the clear"),
    "port of the machine": ("RayCluster", (*CONTAINER, "ports", 1, "hostPort"), 8265, "hostPort: 8265 opens a port"),
    "network of the machine": ("RayCluster", (*HEAD, "hostNetwork"), True, "hostNetwork: True opens a port"),
    "privileged": ("RayCluster", (*CONTAINER, "securityContext", "privileged"), True, "privileged: True gives"),
    "root": ("RayCluster", (*HEAD, "securityContext", "runAsUser"), 0, "runAsUser: 0 gives"),
    "disk of the machine": ("RayCluster", (*HEAD, "volumes", 1), {"name": "cache", "hostPath": {"path": "/"}}, "gives"),
    "codes without retries": ("RayJob", ("spec", "submitterConfig", "podFailurePolicy"), {}, "unknown field"),
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


WAY_IN = {
    "path": "/",
    "pathType": "Prefix",
    "backend": {"service": {"name": "cxr-ray-head-svc", "port": {"number": 8265}}},
}
ADDED = {
    "Ingress": ({"spec": {"rules": [{"http": {"paths": [WAY_IN]}}]}}, "networking.k8s.io/v1", "Ingress opens a port"),
    "Service": ({"spec": {"type": "NodePort", "ports": [{"port": 8265}]}}, "v1", "type: NodePort opens a port"),
    "Secret": ({"stringData": {"secret": "0123456789abcdef"}}, "v1", "a Secret in the clear"),
}


@pytest.mark.parametrize("kind", ADDED)
def test_an_object_that_may_not_be_there_is_found(kind):
    content, version, message = ADDED[kind]
    assert faults([{"apiVersion": version, "kind": kind, "metadata": {"name": "added"}, **content}]) == [message]
