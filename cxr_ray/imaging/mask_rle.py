"""Encode masks as COCO run lengths, strings of a few hundred bytes, and decode them."""

import numpy as np

from cxr_ray.errors import StorageError
from cxr_ray.imaging.mask_runs import MaskRuns, runs_of

DIGIT_BITS = 5
MORE = 1 << DIGIT_BITS
"""Bit that is set in every digit of a number except the last."""
MAX_DIGITS = 7
"""Maximum number of digits of a run, because a run of COCO is a 32-bit number."""


def encode_mask(mask: np.ndarray) -> str:
    """Encode a mask as run lengths, column by column from the top left (Fortran order), in COCO's compressed ASCII form.

    Args:
        mask: bool [H, W], H and W >= 1.

    Returns:
        The value that pycocotools calls `counts`, as str instead of bytes, so that Parquet stores text. The caller must
        store H and W too, because decoding needs them.

    Raises:
        ValueError: if the mask is not bool [H, W].
    """
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"mask must be bool [H, W]; got {mask.dtype} {list(mask.shape)}")
    return runs_of(mask).counts


def decode_mask(counts: str, height: int, width: int) -> np.ndarray:
    """Decode `counts`, as `encode_mask` or any COCO tool writes them, to a mask bool [height, width].

    Raises:
        StorageError: if `counts` are not run lengths, or the runs do not fill a mask of this size.
    """
    runs = _runs(counts)
    if runs is None or runs.sum() != height * width:
        shown = f"{counts[:24]!r}{'...' if len(counts) > 24 else ''}"
        fault = "are not COCO run lengths" if runs is None else f"cover {runs.sum()} pixels"
        raise StorageError(f"mask_counts {shown} of a {height} x {width} mask {fault}; write the masks again")
    return MaskRuns(height=height, width=width, lengths=runs).to_mask()


def _runs(counts: str) -> np.ndarray | None:
    """Decode `counts` to the lengths of the runs, int64 [R], background first; None if they are not valid.

    pycocotools is not used: its C code reads past the end of a truncated string, and returns uninitialised memory if
    the runs do not fill the mask. In the format (maskApi.c, rleToString), a number consists of digits of 5 bits,
    lowest first, in two's complement, as characters from '0' on; from the fourth run on, a run is stored as its
    difference to the run two before it.
    """
    digits = np.frombuffer(counts.encode(errors="surrogatepass"), np.uint8).astype(np.int64) - ord("0")
    if not len(digits) or digits.min() < 0 or digits.max() >= 2 * MORE or digits[-1] & MORE:
        return None
    ends = np.flatnonzero(~digits & MORE)
    starts = np.append(0, ends[:-1] + 1)
    sizes = ends + 1 - starts
    if sizes.max() > MAX_DIGITS:
        return None
    places = np.arange(len(digits)) - np.repeat(starts, sizes)
    numbers = np.add.reduceat((digits & (MORE - 1)) << DIGIT_BITS * places, starts)
    negative = digits[ends] & (MORE >> 1) != 0
    runs = numbers - (negative.astype(np.int64) << DIGIT_BITS * sizes)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs if runs.min() >= 0 else None
