"""The page itself: index.html with its styles and scripts, the facts at its head, and the scripts of its columns."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.browsing.browsed_rows import FLAGS, NUMBERS, WORDS, BrowsedRows
from cxr_ray.browsing.column_files import (
    encode_lists,
    encode_names,
    encode_numbers,
    encode_uris,
    encode_words,
    script_of,
)
from cxr_ray.browsing.thumbnail_sheets import TILES_PER_ROW
from cxr_ray.config.browsing import BrowseConfig
from cxr_ray.config.redaction import redacted

PAGE_NAME = "index.html"
COLUMNS_FOLDER = "columns"
THUMBNAILS_FOLDER = "thumbnails"
PARTS = Path(__file__).parent / "page"
SCRIPTS = ("columns", "filters", "reading_list", "filter_panel", "item", "item_list", "detail", "print_table", "main")
"""Scripts of the page in the order in which one needs the other."""


def column_scripts(table: pa.Table, thumbnails: np.ndarray) -> dict[str, bytes]:
    """Encode the columns of the rows, and the places of their thumbnails, as scripts by file name.

    Args:
        table: rows of the page, sorted by `image_id`.
        thumbnails: float32 [N], place of the thumbnail of each row over all sheets; NaN without one.
    """
    names = table["image_id"].to_pylist()
    encoded = {"image_id": encode_names(names), "uri": encode_uris(table["uri"].to_pylist(), names)}
    for name in table.column_names:
        if name in WORDS or name == "error":
            encoded[name] = encode_words(table[name])
        elif name in NUMBERS or name.startswith("prob_"):
            encoded[name] = encode_numbers(table[name])
        elif name == FLAGS:
            encoded[name] = encode_lists(table[name])
    encoded["thumbnail"] = encode_numbers(pa.chunked_array([thumbnails]))
    return {f"{name}.js": script_of(name, column) for name, column in encoded.items()}


def about(
    rows: BrowsedRows, thumbnails: Mapping[str, Any], scripts: Sequence[str], config: BrowseConfig
) -> dict[str, Any]:
    """Collect the facts that the page shows beside its rows, ready for JSON."""
    table = rows.table
    ids = {
        name: sorted(filter(None, pc.unique(table[name]).to_pylist()))
        for name in ("model_id", "mask_model_id", "run_id")
        if name in table.column_names
    }
    runs = json.dumps([config.predictions_uri, ids], sort_keys=True)
    return {
        "page_id": hashlib.sha256(runs.encode()).hexdigest()[:16],
        "predictions_uri": redacted(config.predictions_uri),
        "masks_uri": redacted(config.masks_uri) if config.masks_uri else None,
        "model_id": [],
        "mask_model_id": [],
        **ids,
        "scored": _days(table),
        "rows": table.num_rows,
        "rows_found": rows.found,
        "seed": config.seed,
        "scripts": [f"{COLUMNS_FOLDER}/{name}" for name in scripts],
        "thumbnails": {
            "folder": THUMBNAILS_FOLDER,
            "side": config.thumbnail_side,
            "per_row": TILES_PER_ROW,
            **{name: thumbnails[name] for name in ("n_thumbnails", "n_tiles", "thumbnail_bytes", "chosen", "outlined")},
            "unreadable": sum(thumbnails["errors_by_kind"].values()),
        },
    }


def _days(table: pa.Table) -> list[str]:
    """First and last day (UTC) on which a row was scored; nothing where that is not known."""
    if "scored_at" not in table.column_names:
        return []
    ends = pc.min_max(table["scored_at"])
    days = [moment.strftime("%Y-%m-%d") for end in ("min", "max") if (moment := ends[end].as_py())]
    return list(dict.fromkeys(days))


def browse_page(facts: Mapping[str, Any]) -> bytes:
    """Render index.html, which loads the scripts of the columns and the thumbnails and nothing else.

    Args:
        facts: what `about` returned.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count_text"] = "{:,}".format
    code = "\n".join((PARTS / f"{name}.js").read_text() for name in SCRIPTS)
    style = (PARTS / "browse.css").read_text()
    page = environment.get_template("index.html.j2").render(
        about=facts,
        data=Markup(json.dumps(facts).replace("<", "\\u003c")),  # noqa: S704 - the only character that ends a script
        code=Markup(code),  # noqa: S704 - files of this package
        style=Markup(style),  # noqa: S704
    )
    return page.encode()
