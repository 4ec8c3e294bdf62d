"""Find lines of text that are drawn into the pixels of a radiograph."""

import numpy as np
from numpy.typing import NDArray

LONGEST_SIDE = 640
"""A larger image is thinned out to at most this side, so that letters of a usual size stay within a few cells."""
STRONG = 40
"""Least difference of neighbouring grey levels at the edge of a stroke; anatomy rarely has one."""
CELL = 8
"""Width and height in pixels of the cells in which edges are counted; cells overlap by half of their height."""
MIN_EDGES = 4
"""Least number of rising and of falling edges of a cell with strokes: a letter has both, the edge of a field only one."""
MIN_CELLS = 3
"""Least number of neighbouring cells with strokes that make a line of text; a single letter, such as R or L, has fewer."""


def has_text(pixels: NDArray[np.uint8]) -> bool:
    """Whether an image holds a horizontal line of text of at least three or four letters.

    Text is where many rising and falling edges lie close together along a row. Letters of about 5 to 20 pixels of height are
    found; larger and smaller ones, faint ones and vertical lines are missed.

    Args:
        pixels: uint8 [H, W].
    """
    return bool(text_cells(pixels).any())


def text_cells(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the cells of lines of text, bool [rows of cells, columns of cells], at a stride of half a cell by a cell."""
    step = -(-max(pixels.shape) // LONGEST_SIDE)
    thinned = pixels[::step, ::step].astype(np.int16)
    change = np.diff(thinned, axis=1)
    strokes = np.minimum(_counts(change >= STRONG), _counts(change <= -STRONG)) >= MIN_EDGES
    run = strokes.copy()
    for shift in range(1, MIN_CELLS):
        run[:, :-shift] &= strokes[:, shift:]
        run[:, -shift:] = False
    return run


def _counts(edges: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the edges bool [H, W] in each cell; incomplete cells at the right and the bottom are left out."""
    half = CELL // 2
    rows, columns = edges.shape[0] // half * half, edges.shape[1] // CELL * CELL
    per_byte = np.bitwise_count(np.packbits(edges[:rows, :columns], axis=1))
    strips = per_byte.reshape(rows // half, half, columns // CELL).sum(axis=1)
    return np.asarray(strips[:-1] + strips[1:], np.int64)
