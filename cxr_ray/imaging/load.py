"""Download and decode the images at many URIs; the next objects are downloaded while the current ones are decoded."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cxr_ray.archive.fetch import Fetched, fetch_objects
from cxr_ray.imaging.decode import DecodedImage, decode_for_sizes, decode_image
from cxr_ray.imaging.limits import DecodeLimits

OBJECTS_AT_ONCE = 64
"""Maximum number of objects that are downloaded together."""
BYTES_AT_ONCE = 256 * 2**20
"""Maximum bytes of the objects that are downloaded together, unless a single object is larger."""
ASSUMED_BYTES = 16 * 2**20
"""Bytes that an object of unknown size is assumed to have: those of a large radiograph."""
DEFAULT_LIMITS = DecodeLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedImage:
    """An object of the archive, decoded or with the error that prevented it."""

    decodings: tuple[DecodedImage, ...]
    """One decoding for each wanted size, or a single one at full scale."""
    content_sha256: str | None
    """SHA-256 of the object's bytes, 64 hex digits; None if the object was not downloaded."""

    @property
    def decoded(self) -> DecodedImage:
        """The first decoding; all decodings agree in everything but their pixels."""
        return self.decodings[0]


def load_images(
    uris: Sequence[str],
    sizes_bytes: Sequence[int | None] | None = None,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
    wanted_sizes: Sequence[int] = (),
) -> Iterator[LoadedImage]:
    """Download and decode every object; yield one result per URI, in order, also for an object that fails.

    Args:
        uris: URIs of the objects, of any scheme.
        sizes_bytes: size of each object in bytes, None where it is unknown; an object above the limit is not
            downloaded. None in place of the list means that no size is known.
        limits: bounds on the size, as `decode_image` takes them.
        wanted_sizes: sizes in pixels, as `decode_for_sizes` takes them; an empty sequence means full scale.
    """
    if sizes_bytes is None:
        sizes_bytes = [None] * len(uris)
    chunks = list(_chunks(sizes_bytes))
    with ThreadPoolExecutor(1, thread_name_prefix="download") as ahead:
        jobs = (ahead.submit(_fetch, [uris[i] for i in c], [sizes_bytes[i] for i in c], limits) for c in chunks)
        pending = next(jobs, None)
        while pending is not None:
            fetched, pending = pending.result(), next(jobs, None)
            for one in fetched:
                yield _decode(one, limits, wanted_sizes)


def _chunks(sizes_bytes: Sequence[int | None]) -> Iterator[range]:
    """Yield ranges of consecutive objects that are held in memory together; large objects make short ranges."""
    start, held = 0, 0
    for position, known in enumerate(sizes_bytes):
        size = ASSUMED_BYTES if known is None else known
        if position > start and (position - start >= OBJECTS_AT_ONCE or held + size > BYTES_AT_ONCE):
            yield range(start, position)
            start, held = position, 0
        held += size
    if start < len(sizes_bytes):
        yield range(start, len(sizes_bytes))


def _fetch(uris: list[str], sizes_bytes: list[int | None], limits: DecodeLimits) -> list[Fetched]:
    fits = [size is None or size <= limits.max_bytes for size in sizes_bytes]
    fetched = iter(fetch_objects([uri for uri, small in zip(uris, fits, strict=True) if small]))
    return [next(fetched) if small else _too_large(size, limits) for small, size in zip(fits, sizes_bytes, strict=True)]


def _too_large(size: int | None, limits: DecodeLimits) -> Fetched:
    return Fetched(
        error_kind="too_large",
        error=f"the file has {size:,} bytes, more than the {limits.max_bytes:,} that are allowed",
    )


def _decode(fetched: Fetched, limits: DecodeLimits, wanted_sizes: Sequence[int]) -> LoadedImage:
    if fetched.data is None:
        failed = DecodedImage(
            pixels=None,
            format=None,
            width=None,
            height=None,
            error_kind=fetched.error_kind,
            error=fetched.error,
        )
        return LoadedImage(decodings=(failed,) * max(1, len(wanted_sizes)), content_sha256=None)
    if wanted_sizes:
        decodings = decode_for_sizes(fetched.data, wanted_sizes, limits=limits)
    else:
        decodings = (decode_image(fetched.data, limits=limits),)
    return LoadedImage(
        decodings=decodings,
        content_sha256=hashlib.sha256(fetched.data).hexdigest(),
    )
