"""The architecture, read off the imports: a module may know its own floor and those below, and never itself."""

import ast
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FLOORS = {
    "cxr_ray": 0,
    "cxr_ray.errors": 0,
    "cxr_ray.metrics": 0,
    "cxr_ray.schema": 0,
    "cxr_ray.cluster": 1,
    "cxr_ray.config": 1,
    "cxr_ray.archive": 2,
    "cxr_ray.imaging": 3,
    "cxr_ray.auditing": 4,
    "cxr_ray.browsing": 4,
    "cxr_ray.evaluation": 4,
    "cxr_ray.models": 4,
    "cxr_ray.preparation": 4,
    "cxr_ray.probing": 4,
    "cxr_ray.scoring": 5,
    "cxr_ray.training": 5,
    "cxr_ray.benchmarks": 6,
    "cxr_ray.phantoms": 6,
    "jobs": 7,
}
HOMES_OF_RAY = tuple(
    f"cxr_ray.{name}" for name in ("benchmarks", "cluster", "phantoms", "preparation", "scoring", "training")
)
FACE = "cxr_ray"
"""The public face forwards each name to its home at the first use, so that it may name any floor: importing it loads
none of them, as tests/test_public_api.py holds, and the floors above read nothing of it but the version."""
APART = ("cxr_ray.scoring", "cxr_ray.training")
"""Packages of one floor that do not know each other."""


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path for folder in ("cxr_ray", "jobs") for path in sorted((REPOSITORY / folder).rglob("*.py"))
}


def imported_names(source: str) -> set[str]:
    """Full names of the modules that a source imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            in_package = {f"{node.module}.{alias.name}" for alias in node.names} & SOURCES.keys()
            names |= in_package or {str(node.module)}
    return names


IMPORTS = {name: imported_names(path.read_text()) for name, path in SOURCES.items()}


def floor_of(module: str) -> int:
    top = module.split(".")
    return FLOORS[top[0]] if top[0] == "jobs" else FLOORS[".".join(top[:2])]


def violations(refused: Callable[[str, set[str]], set[str]]) -> dict[str, set[str]]:
    """Modules, and those of their imports that a rule refuses."""
    found = {module: refused(module, names) for module, names in IMPORTS.items() if module != FACE}
    return {module: names for module, names in found.items() if names}


def test_imports_point_down():
    def higher(module: str, names: set[str]) -> set[str]:
        ours = {name for name in names if name.split(".")[0] in ("cxr_ray", "jobs")}
        return {name for name in ours if floor_of(name) > floor_of(module)}

    assert violations(higher) == {}


def test_scoring_and_training_do_not_know_each_other():
    def across(module: str, names: set[str]) -> set[str]:
        others = tuple(package for package in APART if not module.startswith(package))
        return {name for name in names if module.startswith(APART) and name.startswith(others)}

    assert violations(across) == {}


def names_from_face(source: str) -> set[str]:
    """What a source takes from the public face itself, and not from a module of the package."""
    from_face = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module == FACE
    ]
    return {alias.name for node in from_face for alias in node.names if f"{FACE}.{alias.name}" not in SOURCES}


def test_the_public_face_is_for_those_outside():
    taken = {
        name: names_from_face(path.read_text()) - {"__version__"} for name, path in SOURCES.items() if name != FACE
    }
    assert {name: names for name, names in taken.items() if names} == {}


def test_there_is_no_cycle():
    graph = {module: names & SOURCES.keys() for module, names in IMPORTS.items() if module != FACE}
    TopologicalSorter(graph).prepare()


def test_ray_stays_at_home():
    def of_ray(module: str, names: set[str]) -> set[str]:
        return {name for name in names if name.split(".")[0] == "ray" and not module.startswith(HOMES_OF_RAY)}

    assert violations(of_ray) == {}


def test_imports_are_read_wherever_they_stand():
    source = "import ray.data\nfrom cxr_ray.archive import uris\ndef f():\n    from cxr_ray.schema import LABELS\n"
    assert imported_names(source) == {"ray.data", "cxr_ray.archive.uris", "cxr_ray.schema"}
    assert "cxr_ray.archive.listing" in IMPORTS["cxr_ray.archive.manifest"]
    assert names_from_face("from cxr_ray import Classifier, schema") == {"Classifier"}


def test_a_violation_is_found():
    assert violations(lambda module, names: names if module == "cxr_ray.schema" else set()) == {
        "cxr_ray.schema": {"collections.abc", "pyarrow"}
    }
