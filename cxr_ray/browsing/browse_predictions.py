"""Make a static page of the predictions and masks of an archive job: index.html, columns as scripts, and sheets of thumbnails."""

import json
import logging
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.masks_table import read_masks
from cxr_ray.archive.run_record import RECORD_NAME, write_run_record
from cxr_ray.archive.same_content import CONTENT
from cxr_ray.archive.uris import delete_tree, exists, join_uri, read_bytes, write_bytes
from cxr_ray.browsing.browse_page import (
    COLUMNS_FOLDER,
    PAGE_NAME,
    THUMBNAILS_FOLDER,
    about,
    browse_page,
    column_scripts,
)
from cxr_ray.browsing.browsed_rows import BrowsedRows, read_browsed_rows
from cxr_ray.browsing.thumbnail_choice import choose_rows, said_choice
from cxr_ray.browsing.thumbnail_sheets import TILES_PER_SHEET, draw_sheets
from cxr_ray.config.browsing import BrowseConfig
from cxr_ray.errors import ConfigError
from cxr_ray.schema import MASKS

MASK_COLUMNS = ("mask_counts", "mask_height", "mask_width")
SHEETS_PER_LINE = 50
"""Sheets between two lines of the log."""

log = logging.getLogger("cxr_ray")


def browse_predictions(config: BrowseConfig) -> dict[str, Any]:
    """Write the page of an archive job's rows to `config.output_uri`, and print what it holds, its sizes and its URI.

    Returns:
        What `run.json` of the page says: counts of rows and thumbnails, and bytes.

    Raises:
        ConfigError: if the output is the folder of an input, or holds a folder that no page of this job wrote.
        DatasetError: if there is no row, an image has several rows, or masks are of other files.
        StorageError: if a table cannot be read or the output cannot be written.
    """
    inputs = {"predictions_uri": config.predictions_uri, "masks_uri": config.masks_uri}
    require_other_place(config.output_uri, **{name: uri for name, uri in inputs.items() if uri})
    rows = read_browsed_rows(config.predictions_uri, config.masks_uri, max_rows=config.max_rows, seed=config.seed)
    _remove_earlier_page(config.output_uri)
    thumbnails = _write_thumbnails(rows, config)
    column_bytes = 0
    scripts = column_scripts(rows.table, thumbnails["places"])
    for name, script in scripts.items():
        write_bytes(join_uri(config.output_uri, COLUMNS_FOLDER, name), script)
        column_bytes += len(script)
    page = browse_page(about(rows, thumbnails, list(scripts), config))
    write_bytes(join_uri(config.output_uri, PAGE_NAME), page)
    facts = {
        "n_rows": rows.table.num_rows,
        "n_rows_found": rows.found,
        "column_bytes": column_bytes + len(page),
        **{name: thumbnails[name] for name in ("n_thumbnails", "thumbnail_bytes", "errors_by_kind")},
    }
    write_run_record(config.output_uri, config, **facts)
    print(summary(facts, len(scripts), thumbnails["chosen"], join_uri(config.output_uri, PAGE_NAME)))
    return facts


def _remove_earlier_page(output_uri: str) -> None:
    """Delete the columns and thumbnails of an earlier page, which may be more than those of the new one.

    Raises:
        ConfigError: if there are folders of these names that no page of this job wrote.
    """
    folders = [uri for name in (COLUMNS_FOLDER, THUMBNAILS_FOLDER) if exists(uri := join_uri(output_uri, name))]
    if not folders:
        return
    record = join_uri(output_uri, RECORD_NAME)
    if not exists(record) or "max_thumbnails" not in json.loads(read_bytes(record)).get("config", {}):
        raise ConfigError(f"output_uri must hold nothing else than a page of this job; {folders[0]} is there already")
    for folder in folders:
        delete_tree(folder)


def _write_thumbnails(rows: BrowsedRows, config: BrowseConfig) -> dict[str, Any]:
    """Draw and write the sheets of the chosen rows.

    Returns:
        `places`: float32 [N], the place of each row's thumbnail over all sheets, NaN without one; `outlined`: the sheets that have
        outlines; counts, bytes, and in words which rows were chosen.
    """
    chosen = choose_rows(rows.table, config.max_thumbnails, config.thumbnail_choice, config.seed)
    readable = pc.sum(pc.not_equal(rows.table["status"], "error")).as_py() or 0
    places = np.full(rows.table.num_rows, np.nan, np.float32)
    outlined, errors, written = [], Counter[str](), 0
    for number, sheet in enumerate(draw_sheets(_rows_to_draw(rows, chosen), config.thumbnail_side)):
        files = {f"{number:05d}.jpg": sheet.picture}
        if sheet.outlines is not None:
            files[f"{number:05d}.png"] = sheet.outlines
            outlined.append(number)
        for name, data in files.items():
            write_bytes(join_uri(config.output_uri, THUMBNAILS_FOLDER, name), data)
            written += len(data)
        start = number * TILES_PER_SHEET
        drawn = np.array([kind is None for kind in sheet.errors])
        of_sheet = chosen[start : start + len(drawn)]
        places[of_sheet[drawn]] = (start + np.arange(len(drawn)))[drawn]
        errors.update(kind for kind in sheet.errors if kind)
        if (number + 1) % SHEETS_PER_LINE == 0:
            log.info("%s of %s thumbnails", f"{start + len(drawn):,}", f"{len(chosen):,}")
    return {
        "places": places,
        "outlined": outlined,
        "n_thumbnails": int(np.isfinite(places).sum()),
        "n_tiles": len(chosen),
        "thumbnail_bytes": written,
        "errors_by_kind": dict(errors.most_common()),
        "chosen": said_choice(len(chosen), readable, config.thumbnail_choice, config.seed),
    }


def _rows_to_draw(rows: BrowsedRows, chosen: np.ndarray) -> pa.Table:
    """The URIs of the chosen rows and their masks, null where there is none."""
    table = rows.table.take(pa.array(chosen))
    if rows.masks_uri and table.num_rows:
        content = table[CONTENT] if CONTENT in table.column_names else pa.nulls(table.num_rows, pa.string())
        masks = read_masks(rows.masks_uri, pa.table({"image_id": table["image_id"], CONTENT: content}))
        order = pc.index_in(table["image_id"].combine_chunks(), value_set=masks["image_id"].combine_chunks())
        found = masks.select(list(MASK_COLUMNS)).take(order)
    else:
        found = pa.table({name: pa.nulls(table.num_rows, MASKS.field(name).type) for name in MASK_COLUMNS})
    return found.append_column("uri", table["uri"])


def summary(facts: dict[str, Any], columns: int, chosen: str, page_uri: str) -> str:
    """Say what the page holds and how large it is, in a few lines that end with its URI."""
    rows = f"{facts['n_rows']:,} rows"
    if facts["n_rows"] < facts["n_rows_found"]:
        rows += f" of {facts['n_rows_found']:,}, drawn at random"
    lines = [
        f"{rows}, {columns} columns: {_megabytes(facts['column_bytes'])}",
        f"{facts['n_thumbnails']:,} thumbnails ({chosen}): {_megabytes(facts['thumbnail_bytes'])}",
    ]
    if facts["errors_by_kind"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in facts["errors_by_kind"].items())
        lines.append(f"images without a thumbnail because they cannot be read now: {kinds}")
    return "\n".join([*lines, page_uri])


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
