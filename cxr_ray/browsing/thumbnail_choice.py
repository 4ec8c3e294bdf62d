"""Choose the rows that get a thumbnail."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def choose_rows(table: pa.Table, most: int, choice: Literal["random", "uncertain"], seed: int) -> np.ndarray:
    """Choose at most `most` of the rows whose image could be read, as ascending positions int64 [n].

    Args:
        table: rows with `status`, and `confidence` or `uncertainty` where `choice` is `uncertain`.
        most: maximum number of rows, at least 0.
        choice: `random`, or `uncertain`: the rows of the least confidence, or without this column those of the most uncertainty.
        seed: seed of the draw, which also decides between equal rows.
    """
    readable = np.flatnonzero(pc.not_equal(table["status"], "error").to_numpy())
    if len(readable) <= most:
        return readable
    drawn = np.random.default_rng(seed).permutation(readable)
    if choice == "uncertain":
        drawn = drawn[np.argsort(_sureness(table)[drawn], kind="stable")]
    return np.sort(drawn[:most])


def _sureness(table: pa.Table) -> np.ndarray:
    """How sure the model is of each row, float64 [N]: the confidence, or minus the uncertainty of the mask; NaN where unknown."""
    if "confidence" in table.column_names:
        return np.asarray(table["confidence"].to_numpy(), dtype=np.float64)
    if "uncertainty" in table.column_names:
        return -np.asarray(table["uncertainty"].to_numpy(), dtype=np.float64)
    return np.full(table.num_rows, np.nan)


def said_choice(chosen: int, readable: int, choice: Literal["random", "uncertain"], seed: int) -> str:
    """Say in words which rows have a thumbnail, for the page and the terminal."""
    if not chosen:
        return "none was made"
    if chosen == readable:
        return "every image that could be read"
    how = f"drawn at random with seed {seed}" if choice == "random" else "those of which the model is least sure"
    return f"{chosen:,} of {readable:,} images that could be read, {how}"
