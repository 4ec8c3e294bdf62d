"""The layout of the repository: what lies at the top, how long files and functions are, and where tests lie."""

import ast
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCES = {
    str(path.relative_to(REPOSITORY)): path.read_text()
    for folder in ("cxr_ray", "jobs")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
}
TOP_LEVEL = {
    *("jobs", "cxr_ray", "cluster", "tests", "pyproject.toml"),
    *("README.md", "Makefile", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"),
}
"""Entries of the repository's root; hidden entries may lie beside them."""
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 60
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}
PEERS = ("daft_query", "dataloader", "peer", "pipeline", "ray_template")
TESTED_ELSEWHERE = {
    # what an audit says of phantoms, clean and marked, needs a trained network
    **{
        f"auditing/{name}.py": "auditing/test_audit_classifier.py"
        for name in ("audit_figures", "audit_text", "marker_check", "region_check", "robustness_check")
    },
    "auditing/lung_masks.py": "auditing/test_audit_images.py",
    # configs: one table of bad values for all of them
    "config/archive.py": "config/test_ranges.py",
    "config/auditing.py": "config/test_ranges.py",
    "config/benchmark.py": "config/test_ranges.py",
    "config/browsing.py": "config/test_ranges.py",
    "config/drift.py": "evaluation/test_measure_drift.py",
    "config/demo.py": "config/test_ranges.py",
    "config/optimizing.py": "config/test_ranges.py",
    "config/probing.py": "config/test_ranges.py",
    "config/orientation.py": "config/test_ranges.py",
    "config/scoring.py": "config/test_ranges.py",
    "config/segmentation.py": "config/test_ranges.py",
    "config/segmentation_evaluation.py": "evaluation/test_evaluate_segmenter.py",
    "config/segmenter_training.py": "config/test_ranges.py",
    "config/training.py": "config/test_ranges.py",
    # measuring: what a benchmark calls is tested by running the benchmark
    "benchmarks/archive_costs.py": "benchmarks/test_plan_archive.py",
    "benchmarks/planned_job.py": "benchmarks/test_plan_archive.py",
    "benchmarks/plain_saliency.py": "models/test_m2ib.py",
    **{f"benchmarks/peers/{name}.py": "benchmarks/peers/test_run.py" for name in PEERS},
    "benchmarks/plain_training.py": "benchmarks/test_benchmark_training.py",
    # one thing in several files: the test drives it as a whole
    "evaluation/mask_judgement.py": "evaluation/test_segmentation_measures.py",
    "evaluation/segmentation_sheet.py": "evaluation/test_evaluate_segmenter.py",
    "evaluation/classifier_output.py": "evaluation/test_evaluate_classifier.py",
    "evaluation/finding_figures.py": "evaluation/test_evaluate_findings.py",
    "evaluation/scored_counts.py": "evaluation/test_evaluate_classifier.py",
    "evaluation/drift_figure.py": "evaluation/test_measure_drift.py",
    "evaluation/predictions.py": "evaluation/test_evaluate_classifier.py",
    "evaluation/true_masks.py": "evaluation/test_evaluate_segmenter.py",
    "metrics/class_intervals.py": "metrics/test_classification.py",
    "models/allocator.py": "benchmarks/test_benchmark_segmentation.py",
    "models/engines/engine.py": "models/engines/test_fastest_engine.py",
    "models/engines/int8_network.py": "models/test_bundled_int8.py",
    "models/engines/nncf_process.py": "models/engines/test_quantize.py",
    "models/clip_weights.py": "models/test_biomedclip_checkpoint.py",
    "models/segmenter_ensemble.py": "models/test_segmenter.py",
    "models/zero_shot_segmenter.py": "scoring/stages/test_segment_by_text.py",
    "phantoms/make_phantom_models.py": "phantoms/test_phantom_models.py",
    "phantoms/phantom_anatomy.py": "phantoms/test_phantom.py",
    "phantoms/phantom_clip.py": "phantoms/test_phantom_models.py",
    "phantoms/phantom_sam.py": "phantoms/test_phantom_models.py",
    "imaging/decoder_process.py": "imaging/test_decoder_fence.py",
    "preparation/fingerprint_images.py": "preparation/test_prepare_dataset.py",
    # the table of foreign checkpoints runs all of the loader
    **{
        f"models/{name}.py": "models/test_import_model.py"
        for name in (
            *(f"foreign/{name}" for name in ("fitting", "load", "numpy_archive", "positions", "reference", "source")),
            *(
                f"foreign/{name}"
                for name in ("timm_filters", "timm_names", "transformers_names", "transformers_network")
            ),
        )
    },
    "models/inert_pickle.py": "models/test_state_file.py",
    # a pipeline or a training loop needs Ray, and a run of the job to be tested by
    "scoring/archive_job.py": "scoring/test_classify_archive.py",
    "scoring/blocks.py": "scoring/test_classify_archive.py",
    "scoring/output/commit.py": "scoring/test_classify_archive.py",
    "scoring/tallied_stage.py": "scoring/test_pieces.py",
    "scoring/worker_warnings.py": "scoring/test_classify_archive.py",
    "scoring/stages/mask_columns.py": "scoring/stages/test_segment_by_model.py",
    "scoring/stages/segment_outputs.py": "scoring/stages/test_segment_by_text.py",
    "training/classifier/objective.py": "training/classifier/test_train_classifier.py",
    "training/classifier/objectives.py": "training/classifier/test_train_findings.py",
    "training/classifier/one_class.py": "training/classifier/test_class_labels.py",
    "training/clip/feature_gather.py": "training/clip/test_learner.py",
    "training/clip/sentences.py": "training/clip/test_finetune_clip.py",
    "training/clip/views.py": "training/clip/test_learner.py",
    "training/readable_images.py": "training/segmenter/test_mask_source.py",
    "training/segmenter/mask_cache.py": "training/segmenter/test_mask_source.py",
    "training/segmenter/validation.py": "training/segmenter/test_mask_loss.py",
    "training/segmenter/views.py": "training/segmenter/test_loop.py",
    "training/shards.py": "training/test_cached_feed.py",
    "training/worker_context.py": "training/test_cached_feed.py",
}
"""Sources without a test at their own place, and the test that covers them."""


OF_THE_WHOLE = {"faults"}
"""Folders of tests that mirror no package, because they disturb whole jobs."""


def functions(source: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(ast.parse(source))
    return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def too_long(source: str) -> list[str]:
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(source)}
    return [f"{name} has {lines} lines" for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION]


def test_place(source_path: str) -> str:
    folder, _, name = source_path.removeprefix("cxr_ray/").rpartition("/")
    return f"{folder}/test_{name}" if folder else f"test_{name}"


test_place.__test__ = False


def misplaced(path: str) -> str | None:
    """What is wrong with the test of a source, or with its entry in TESTED_ELSEWHERE."""
    listed = TESTED_ELSEWHERE.get(path.removeprefix("cxr_ray/"))
    has_own = (REPOSITORY / "tests" / test_place(path)).exists()
    if has_own or not functions(SOURCES[path]):
        return f"{path} needs no entry in TESTED_ELSEWHERE" if listed else None
    if listed is None:
        return f"{path} has no test: write tests/{test_place(path)}"
    return None if (REPOSITORY / "tests" / listed).exists() else f"{listed}, the test of {path}, does not exist"


def test_files_and_functions_are_short():
    assert {path for path, source in SOURCES.items() if len(source.splitlines()) > MOST_LINES} == set()
    found = {path: too_long(source) for path, source in SOURCES.items()}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_file_is_named_after_what_it_does():
    assert {path for path in SOURCES if Path(path).stem in NAMES_THAT_SAY_NOTHING} == set()


def test_a_source_with_code_has_its_tests_at_the_mirrored_place_or_is_listed():
    in_package = (path for path in SOURCES if path.startswith("cxr_ray/") and not path.endswith("__init__.py"))
    assert [fault for path in in_package if (fault := misplaced(path))] == []


def test_what_is_listed_is_there():
    assert {f"cxr_ray/{path}" for path in TESTED_ELSEWHERE} - SOURCES.keys() == set()


def test_a_test_lies_where_its_source_does():
    folders = {path.parent.relative_to(REPOSITORY / "tests") for path in (REPOSITORY / "tests").rglob("test_*.py")}
    assert {str(folder) for folder in folders if not (REPOSITORY / "cxr_ray" / folder).is_dir()} - OF_THE_WHOLE == set()


def test_the_top_level_is_fixed():
    line = ["git", "-C", str(REPOSITORY), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(line, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this copy of the sources is no git checkout")
    entries = {path.partition("/")[0] for path in listed.stdout.splitlines()}
    assert {entry for entry in entries if not entry.startswith(".")} - TOP_LEVEL == set()


def test_a_long_function_is_found():
    assert too_long("def f():\n" + "    pass\n" * MOST_LINES_OF_A_FUNCTION) == ["f has 61 lines"]
    assert too_long("def f():\n" + "    pass\n" * (MOST_LINES_OF_A_FUNCTION - 1)) == []
