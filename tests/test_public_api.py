"""The public face: what a notebook imports, what that loads, and what editors and type checkers see of it."""

import ast
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import cxr_ray
from cxr_ray import ClassifyConfig, CxrRayError, SegmentConfig, TrainClassifierConfig
from cxr_ray.errors import BundleError, ConfigError

SOURCE = Path(cxr_ray.__file__)


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `code`."""
    code += "\nimport sys\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return {name.partition(".")[0] for name in ended.stdout.split()}


def test_the_package_loads_nothing_of_others():
    standard = set(sys.stdlib_module_names)
    before = loaded_after("pass")
    assert loaded_after("import cxr_ray") - before - standard == {"cxr_ray"}


@pytest.mark.slow
def test_all_names_are_imported_without_ray_or_torch():
    loaded = loaded_after(f"from cxr_ray import {', '.join(cxr_ray.__all__)}")
    assert loaded & {"ray", "torch", "timm", "dynamic_network_architectures", "matplotlib"} == set()


def test_it_is_imported_in_a_fifth_of_a_second():
    def seconds() -> float:
        code = "import time; start = time.process_time(); import cxr_ray; print(time.process_time() - start)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    # On a quiet machine the same as the seconds a user waits, and on a busy one still the package's own.
    assert min(seconds() for _ in range(3)) < 0.2


@pytest.mark.parametrize("name", cxr_ray.__all__)
def test_every_name_is_there_and_documented(name):
    value = getattr(cxr_ray, name)
    assert len(value.__doc__) > 20
    assert name in dir(cxr_ray)
    assert value.__module__.startswith("cxr_ray")


def test_the_jobs_are_those_of_the_command_line(tmp_path):
    """Each refuses what it cannot do in the words of its job, before a cluster is started."""
    with pytest.raises(BundleError, match="no model bundle at none"):
        cxr_ray.classify_archive(ClassifyConfig(input_uri="i", output_uri=str(tmp_path), model_uri=("none",)))
    with pytest.raises(BundleError, match=r"no model bundle at .*none"):
        cxr_ray.segment_archive(SegmentConfig(input_uri="i", output_uri=str(tmp_path), model_uri="none"))
    with pytest.raises(CxrRayError, match=r"none\.parquet"):
        cxr_ray.train_classifier(
            TrainClassifierConfig(dataset_uri="none.parquet", output_uri=str(tmp_path), backbone="resnet50")
        )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_an_attribute_error_that_names_the_known_ones():
    with pytest.raises(AttributeError, match="no attribute 'load_picture'; its public names are Classifier, "):
        cxr_ray.load_picture  # noqa: B018


def test_type_checkers_see_every_name():
    """Each public name is defined in the source, or imported where only type checkers look."""
    tree = ast.parse(SOURCE.read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imported = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(cxr_ray.__all__) <= imported | defined
    assert files("cxr_ray").joinpath("py.typed").is_file()


def test_one_bundle_as_a_plain_string_is_refused_with_the_form_to_write():
    with pytest.raises(ConfigError, match=r"model_uri must be a tuple of bundles such as \(\"models/classifier\",\)"):
        ClassifyConfig(input_uri="i", output_uri="o", model_uri="models/mine")
