"""Choose the scored images that the report shows, and load their pictures as data URIs."""

import base64
import io
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from cxr_ray.archive.fetch import Fetched, fetch_objects
from cxr_ray.imaging.decoder_fence import decode_fenced
from cxr_ray.imaging.limits import DecodeLimits

SIDE = 160  # longer side of a thumbnail in pixels
JPEG_QUALITY = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredImage:
    """One scored image that the report shows."""

    image_id: str
    truth: str
    predicted: str
    confidence: float
    correct: bool
    picture: str | None
    """Thumbnail as the data URI of a JPEG; None if the image cannot be read."""
    error_kind: str | None
    """Kind of the error if the image cannot be read, else None."""


def choose_images(rows: pa.Table, count: int) -> pa.Table:
    """Choose at most `count` scored rows: first the most confident mistakes, then correct predictions of every class.

    Half of the rows are mistakes; if there are too few mistakes or too few correct predictions, the other kind fills up.

    Args:
        rows: rows from `join_truth`.
        count: maximum number of rows, >= 0.
    """
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    correct = rows["correct"].to_numpy()
    mistakes = np.flatnonzero(~correct)
    mistakes = mistakes[np.argsort(-rows["confidence"].to_numpy()[mistakes], kind="stable")]
    hits = _classes_in_turn(np.flatnonzero(correct), rows["label"].to_numpy(), count)
    shown_mistakes = min(len(mistakes), max(count // 2, count - len(hits)))
    return rows.take(np.concatenate([mistakes[:shown_mistakes], hits[: count - shown_mistakes]]))


def _classes_in_turn(positions: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Draw at most `count` of `positions` at random with a fixed seed, taking one of each class in turn."""
    drawn = np.random.default_rng(0).permutation(positions)
    by_class = [drawn[labels[drawn] == label][:count] for label in np.unique(labels[drawn])]
    in_turn = [position for position in chain(*zip_longest(*by_class)) if position is not None]
    return np.array(in_turn[:count], dtype=np.int64)


def scored_images(rows: pa.Table) -> list[ScoredImage]:
    """Fetch the pictures of the rows together; an image that cannot be read has the kind of its error instead of a picture."""
    images = []
    for row, fetched in zip(rows.to_pylist(), fetch_objects(rows["uri"].to_pylist()), strict=True):
        picture, error_kind = _picture(fetched)
        images.append(
            ScoredImage(
                image_id=row["image_id"],
                truth=row["label"],
                predicted=row["predicted"],
                confidence=row["confidence"],
                correct=row["correct"],
                picture=picture,
                error_kind=error_kind,
            )
        )
    return images


def _picture(fetched: Fetched) -> tuple[str | None, str | None]:
    if fetched.data is None:
        return None, fetched.error_kind
    decoded = decode_fenced(fetched.data, SIDE, limits=DecodeLimits())
    if decoded.pixels is None:
        return None, decoded.error_kind
    return data_uri(_jpeg(decoded.pixels), "image/jpeg"), None


def _jpeg(pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def data_uri(data: bytes, media_type: str) -> str:
    """Encode bytes as a data URI, so that an HTML page can contain them."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
