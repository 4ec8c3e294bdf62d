"""What an API server would say of a manifest: schemas, fields that it would drop without a word, CEL rules, habits of safety."""

import os
import re
from functools import cache
from pathlib import Path

import jsonschema
import yaml

CRDS = Path(os.environ.get("CXR_SHARED") or Path(__file__).parents[2].parent / "shared") / "crds"
OPEN_PORTS = {"Ingress", "Gateway", "HTTPRoute"}
OPEN = re.compile(r"(serviceType|type): (LoadBalancer|NodePort)|hostNetwork: True|hostPort: .*")
ROOT = re.compile(
    r"(privileged|allowPrivilegeEscalation|hostPID|hostIPC): True|runAsUser: 0|runAsNonRoot: False|hostPath: .*"
)


def documents(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def read_folder(folder: Path) -> list[dict]:
    files = [path for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [document for path in files for document in documents(path.read_text())]


@cache
def custom_schema(kind: str) -> dict:
    text = (CRDS / f"ray.io_{kind.lower()}s.yaml").read_text()
    first = "\n  - ".join(text.split("\n  - ")[:2])  # v1; the older versions are half of the file, and slow to parse
    (version,) = yaml.load(first, yaml.CSafeLoader)["spec"]["versions"]
    assert version["name"] == "v1"
    return version["schema"]["openAPIV3Schema"]


def faults_of_custom(manifest: dict) -> list[str]:
    schema = custom_schema(manifest["kind"])
    found = [f"{error.json_path}: {error.message}" for error in validator(manifest["kind"]).iter_errors(manifest)]
    return found + unknown_fields(manifest, schema, "$") + broken_rules(manifest, schema, "$")


@cache
def validator(kind: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(with_quantities(custom_schema(kind)))


def with_quantities(schema):
    """The schema with what OpenAPI says and JSON schema does not know: a field that takes a number or a string."""
    if isinstance(schema, list):
        return [with_quantities(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: with_quantities(part) for name, part in schema.items()}
    if parts.get("x-kubernetes-int-or-string") is True:
        parts.pop("type", None)
    return parts


def unknown_fields(value, schema: dict, path: str) -> list[str]:
    if isinstance(value, list):
        return [
            f for i, part in enumerate(value) for f in unknown_fields(part, schema.get("items", {}), f"{path}[{i}]")
        ]
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    known, more = schema.get("properties", {}), schema.get("additionalProperties")
    if not known and not more:
        return []
    faults = []
    for name, part in value.items():
        if name in known or isinstance(more, dict):
            faults += unknown_fields(part, known.get(name, more or {}), f"{path}.{name}")
        else:
            faults.append(f"{path}.{name}: unknown field")
    return faults


def broken_rules(value, schema: dict, path: str) -> list[str]:
    """Messages of CEL rules that do not hold; rules about a change of the object need two of them, and are passed over."""
    faults = [
        f"{path}: {rule.get('message', rule['rule'])}"
        for rule in schema.get("x-kubernetes-validations", ())
        if "oldSelf" not in rule["rule"] and not holds(rule["rule"], value)
    ]
    if isinstance(value, list):
        parts = [(part, schema.get("items", {}), f"{path}[{i}]") for i, part in enumerate(value)]
    elif isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        rest = more if isinstance(more, dict) else {}
        parts = [(part, known.get(name, rest), f"{path}.{name}") for name, part in value.items()]
    else:
        parts = []
    return faults + [fault for part in parts for fault in broken_rules(*part)]


@cache
def program(rule: str):
    import celpy

    environment = celpy.Environment()
    return environment.program(environment.compile(rule))


def holds(rule: str, value) -> bool:
    import celpy

    return bool(program(rule).evaluate({"self": celpy.json_to_cel(value)}))


def unsafe(manifest: dict) -> list[str]:
    """What a schema allows and this product does not: open ports, machines and secrets, retries without an end."""
    kind, spec = manifest["kind"], manifest.get("spec", {})
    job = spec.get("jobTemplate", {}) if kind == "RayCronJob" else spec
    faults = [f"{kind} opens a port"] if kind in OPEN_PORTS else []
    for key, value in pairs(manifest):
        if OPEN.fullmatch(f"{key}: {value}"):
            faults.append(f"{key}: {value} opens a port")
        if ROOT.fullmatch(f"{key}: {value}"):
            faults.append(f"{key}: {value} gives the machine away")
        if key == "env":
            names = [part["name"] for part in value if "value" in part]
            faults += [
                f"{n} is a secret in the clear" for n in names if re.search("SECRET|TOKEN|PASSWORD|ACCESS_KEY", n)
            ]
        if key == "authOptions" and value.get("mode") != "token":
            faults.append(f"authOptions.mode: {value.get('mode')}")
    if kind == "Secret":
        faults.append("a Secret in the clear")
    if kind == "NetworkPolicy" and not all(rule.get("from") for rule in spec.get("ingress", ())):
        faults.append("a NetworkPolicy lets everybody in")
    return faults + (endless(job) if kind in {"RayJob", "RayCronJob"} else [])


def endless(job: dict) -> list[str]:
    faults = [f"{name} is missing" for name in ("backoffLimit", "activeDeadlineSeconds") if name not in job]
    if job.get("backoffLimit", 0) > 3:
        faults.append("backoffLimit is above 3")
    if job.get("shutdownAfterJobFinishes") and job.get("deletionStrategy", {}).get("deletionRules"):
        faults.append("shutdownAfterJobFinishes and deletionRules exclude each other")
    return faults


def pairs(value):
    """Every key of nested mappings with its value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield key, part
            yield from pairs(part)
    if isinstance(value, list):
        for part in value:
            yield from pairs(part)
