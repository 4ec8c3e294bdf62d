"""The architecture, read off the imports: a module may know its own floor and those below, and never itself."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FLOORS = {
    "cxr_ray": 0,
    "cxr_ray.config": 0,
    "cxr_ray.schema": 0,
    "cxr_ray.errors": 0,
    "cxr_ray.archive": 1,
    "cxr_ray.imaging": 2,
    "cxr_ray.models": 3,
    "cxr_ray.scoring": 4,
    "cxr_ray.training": 4,
    "cxr_ray.evaluation": 4,
    "cxr_ray.demo": 5,
    "jobs": 5,
}
HOMES_OF_RAY = ("cxr_ray.scoring", "cxr_ray.training")


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


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_down(module):
    ours = {name for name in IMPORTS[module] if name.split(".")[0] in ("cxr_ray", "jobs")}
    assert {name for name in ours if floor_of(name) > floor_of(module)} == set()


def test_there_is_no_cycle():
    TopologicalSorter({module: names & SOURCES.keys() for module, names in IMPORTS.items()}).prepare()


@pytest.mark.parametrize("module", [name for name in SOURCES if not name.startswith(HOMES_OF_RAY)])
def test_ray_stays_at_home(module):
    assert {name for name in IMPORTS[module] if name.split(".")[0] == "ray"} == set()


def test_imports_are_read_wherever_they_stand():
    source = "import ray.data\nfrom cxr_ray.archive import uris\ndef f():\n    from cxr_ray.schema import LABELS\n"
    assert imported_names(source) == {"ray.data", "cxr_ray.archive.uris", "cxr_ray.schema"}
    assert "cxr_ray.archive.listing" in IMPORTS["cxr_ray.archive.manifest"]
