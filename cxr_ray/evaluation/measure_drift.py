"""Compare two outputs of a classifier: a test of each column with a correction for their number, a table and a figure."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import refuse_duplicates
from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.config.drift import MeasureDriftConfig
from cxr_ray.errors import DatasetError, GateError
from cxr_ray.evaluation.drift_figure import drift_png
from cxr_ray.evaluation.predictions import predictions_folder
from cxr_ray.metrics.drift import compare_categories, compare_numbers
from cxr_ray.metrics.model_comparison import holm
from cxr_ray.schema import finding_columns

OF_ALL_IMAGES = ("status", "error_kind", "format", "modality", "view_position")
OF_SCORED_IMAGES = ("label", "confidence", "entropy", "width", "height")
"""Columns that are compared where both outputs have values."""
NOT_COMPARED = {"image_id", "uri", "error", "content_sha256", "run_id", "scored_at", "patient_key"}
IDS = ("model_id", "preprocessing_id")
UNKNOWN = "unknown"
MAX_CATEGORIES = 50


def measure_drift(config: MeasureDriftConfig) -> dict[str, Any]:
    """Compare two outputs, and write drift.json, drift.txt, drift.parquet and drift.png; the text is printed.

    Returns:
        The content of drift.json.

    Raises:
        DatasetError: if the outputs are of different models, one is empty or names an image twice, or a column cannot be
            compared.
        ConfigError: if the output is the folder of an input.
        GateError: if a column drifted and `config.fail_on_drift` is set; the files are written first.
        StorageError: if a table cannot be read or the output cannot be written.
    """
    uris = {"reference": config.reference_uri, "current": config.current_uri}
    require_other_place(config.output_uri, reference_uri=config.reference_uri, current_uri=config.current_uri)
    whole = {side: _read(uri) for side, uri in uris.items()}
    _require_one_model(whole, uris)
    tables = {side: one_image_of_each_patient(table, config.seed) for side, table in whole.items()}
    compared, not_compared = compare_columns(tables, config)
    drifted = [row["column"] for row in compared if row["drifted"]]
    result = {
        **{f"{side}_uri": uri for side, uri in uris.items()},
        "n_images": {side: table.num_rows for side, table in whole.items()},
        "n_compared": {side: table.num_rows for side, table in tables.items()},
        **{name: sorted(set(whole["reference"][name].to_pylist())) for name in IDS},
        "level": config.level,
        "min_effect": config.min_effect,
        "correction": "holm",
        "drifted": drifted,
        "columns": compared,
        "not_compared": not_compared,
    }
    _write(result, config)
    if drifted and config.fail_on_drift:
        raise GateError(
            f"{len(drifted)} of {len(compared)} columns drifted: {', '.join(drifted)}; see {config.output_uri}"
        )
    return result


def _read(uri: str) -> pa.Table:
    folder = predictions_folder(uri)
    table = read_table(folder)
    of_class = () if finding_columns(table.column_names) else ("label", "confidence")
    needed = {"image_id", "status", *of_class, *IDS}
    if lacking := sorted(needed - set(table.column_names)):
        raise DatasetError(f"{uri} has no column {', '.join(lacking)}; name an output of classify_archive.py")
    if not table.num_rows:
        raise DatasetError(f"{uri} has no rows; score an archive first")
    refuse_duplicates(table, uri, "score again into an empty output or with --overwrite")
    return table


def _require_one_model(tables: dict[str, pa.Table], uris: dict[str, str]) -> None:
    """Refuse outputs of different models or preprocessings, whose predictions differ for other reasons than the images."""
    for name in IDS:
        reference, current = ({str(v) for v in table[name].to_pylist()} for table in tables.values())
        if reference != current:
            raise DatasetError(
                f"{uris['reference']} has the {name} {', '.join(sorted(reference))}, and {uris['current']}"
                f" {', '.join(sorted(current))}; score both archives with one model"
            )


def one_image_of_each_patient(table: pa.Table, seed: int) -> pa.Table:
    """Draw one image of each known patient (`patient_key`), because the tests take images as independent.

    Images of unknown patients are kept.
    """
    if "patient_key" not in table.column_names or table["patient_key"].null_count == table.num_rows:
        return table
    table = table.sort_by("image_id")
    order = np.random.default_rng(seed).permutation(table.num_rows)
    seen: set[str] = set()
    kept = []
    keys = table["patient_key"].to_pylist()
    for position in order.tolist():
        key = keys[position]
        if key is None or key not in seen:
            kept.append(position)
            seen.add(key)
    return table.take(pa.array(sorted(kept)))


def compare_columns(
    tables: dict[str, pa.Table], config: MeasureDriftConfig
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Compare the columns of two tables, the largest effect first.

    `status`, `error_kind`, `format` and the like are compared over all images, the others over images without an error.

    Returns:
        A dict for each column: `column`, what `compare_numbers` or `compare_categories` returned, `p_value_holm`, and
        `drifted`; and the reason, by column, why others were not compared.

    Raises:
        DatasetError: if a column of `config.columns` does not exist in both tables, or has values that cannot be compared.
    """
    for name in config.columns:
        for side, table in tables.items():
            if name not in table.column_names:
                raise DatasetError(f"the {side} output has no column {name!r}; it has {', '.join(table.column_names)}")
    present = tables["reference"].column_names
    probabilities = [name for name in present if name.startswith("prob_")]
    found: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for name in dict.fromkeys((*OF_ALL_IMAGES, *OF_SCORED_IMAGES, *probabilities, *_others(tables), *config.columns)):
        if reason := _reason_to_skip(name, tables):
            if name in config.columns:
                raise DatasetError(f"column {name!r} cannot be compared: {reason}; leave it out of --columns")
            skipped[name] = reason
            continue
        found.append({"column": name} | _compare(name, tables, config.seed))
    tested = [row for row in found if row["p_value"] is not None]
    for row, p_value in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_value_holm"] = p_value
    for row in found:
        row.setdefault("p_value_holm", None)
        small = row["p_value_holm"] is not None and row["p_value_holm"] < config.level
        row["drifted"] = bool(small and row["effect"] >= config.min_effect)
    return sorted(found, key=lambda row: (-(row["effect"] or 0), row["column"])), skipped


def _others(tables: dict[str, pa.Table]) -> Iterable[str]:
    """Find further numeric columns of both tables, such as statistics of the pixels."""
    reference, current = tables.values()
    for field in reference.schema:
        if field.name in current.column_names and field.name not in NOT_COMPARED and _is_number(field.type):
            yield field.name


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _reason_to_skip(name: str, tables: dict[str, pa.Table]) -> str | None:
    for side, table in tables.items():
        if name not in table.column_names:
            return f"the {side} output lacks it"
        kind = table[name].type
        if not (
            _is_number(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind)
        ):
            return f"its type is {kind}"
    if all(table[name].null_count == table.num_rows for table in tables.values()):
        return "both outputs have no value"
    if not _is_number(tables["reference"][name].type):
        values = {value for table in tables.values() for value in pc.unique(table[name]).to_pylist()}
        if len(values) > MAX_CATEGORIES:
            return f"it has {len(values):,} different values"
    return None


def _compare(name: str, tables: dict[str, pa.Table], seed: int) -> dict[str, Any]:
    if name not in OF_ALL_IMAGES:
        tables = {side: table.filter(pc.equal(table["status"], "ok")) for side, table in tables.items()}
    sides = [tables[side][name] for side in ("reference", "current")]
    if all(
        _is_number(side.type) and not pa.types.is_int8(side.type) for side in sides
    ):  # int8 says which findings there are
        numbers = [pc.drop_null(side).to_numpy().astype(np.float64) for side in sides]
        return compare_numbers(*(side[np.isfinite(side)] for side in numbers))
    absent = "none" if name == "error_kind" else UNKNOWN
    return compare_categories(
        *([absent if v is None else str(v) for v in side.to_pylist()] for side in sides), seed=seed
    )


def drift_text(result: dict[str, Any]) -> str:
    """Write the content of drift.json as a table of plain text."""
    lines = [f"{'column':<24}{'test':<16}{'reference':>11}{'current':>11}{'effect':>9}{'p (Holm)':>10}  drift"]
    for row in result["columns"]:
        medians = [_middle(row[side]) for side in ("reference", "current")]
        p_value = "-" if row["p_value_holm"] is None else _p_value(row["p_value_holm"])
        effect = "-" if row["effect"] is None else f"{row['effect']:.3f}"
        verdict = "yes" if row["drifted"] else "no"
        lines.append(
            f"{row['column']:<24}{row['test']:<16}{medians[0]:>11}{medians[1]:>11}{effect:>9}{p_value:>10}  {verdict}"
        )
    lines += [
        "",
        f"Drift is an effect of at least {result['min_effect']:g} with a corrected p-value below {result['level']:g}.",
    ]
    lines.append(
        "Effects: distance of the distribution functions (ks), or half the sum of differences of fractions (chi2)."
    )
    for side in ("reference", "current"):
        images, compared = result["n_images"][side], result["n_compared"][side]
        chosen = "" if images == compared else f", of which {compared:,} were compared: one of each patient"
        lines.append(f"{side.capitalize()}: {images:,} images{chosen}")
    if result["not_compared"]:
        lines.append("Not compared: " + "; ".join(f"{name} ({why})" for name, why in result["not_compared"].items()))
    return "\n".join(lines) + "\n"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _middle(value: float | dict[str, float] | None) -> str:
    """Write a median, or nothing for categories, whose fractions are in the figure and in drift.json."""
    return f"{value:.4g}" if isinstance(value, float) else ""


def _write(result: dict[str, Any], config: MeasureDriftConfig) -> None:
    text = drift_text(result)
    names = ("column", "test", "n_reference", "n_current", "statistic", "effect", "p_value", "p_value_holm", "drifted")
    rows = pa.Table.from_pylist([{name: row[name] for name in names} for row in result["columns"]])
    files = {
        "drift.json": (json.dumps(result, indent=2, allow_nan=False) + "\n").encode(),
        "drift.txt": text.encode(),
        "drift.png": drift_png(result),
    }
    for name, content in files.items():
        write_bytes(join_uri(config.output_uri, name), content)
    write_table(rows, join_uri(config.output_uri, "drift.parquet"))
    write_run_record(config.output_uri, config, drifted=result["drifted"])
    print(f"{text}\n{join_uri(config.output_uri, 'drift.png')}")
