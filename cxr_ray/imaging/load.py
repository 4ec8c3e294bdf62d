"""Download and decode the images at many URIs; the next objects are downloaded while the current ones are decoded."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cxr_ray.archive.fetch import Fetched, fetch_objects
from cxr_ray.imaging.decode import DEFAULT_LIMITS, DecodedImage
from cxr_ray.imaging.decoder_fence import FILES_AHEAD, DecoderFence, FencedFile, fence_of_this_thread
from cxr_ray.imaging.limits import DecodeLimits

OBJECTS_AT_ONCE = 64
"""Maximum number of objects that are downloaded together."""
BYTES_AT_ONCE = 256 * 2**20
"""Maximum bytes of the objects that are downloaded together, unless a single object is larger."""
ASSUMED_BYTES = 16 * 2**20
"""Bytes that an object of unknown size is assumed to have: those of a large radiograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedImage:
    """An object of the archive, decoded or with the error that prevented it."""

    decodings: tuple[DecodedImage, ...]
    """One decoding for each wanted size, or a single one at full scale."""
    content_sha256: str | None
    """SHA-256 of the object's bytes, 64 hex digits; None if the object was not downloaded."""
    size_bytes: int = 0
    """Number of the object's bytes; 0 if the object was not downloaded."""

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
    yield from _decoded(_fetched(uris, sizes_bytes, limits), limits, wanted_sizes)


def _fetched(uris: Sequence[str], sizes_bytes: Sequence[int | None], limits: DecodeLimits) -> Iterator[Fetched]:
    """Download every object, in order; the next chunk of objects is downloaded while the current one is used."""
    chunks = list(_chunks(sizes_bytes))
    with ThreadPoolExecutor(1, thread_name_prefix="download") as ahead:
        jobs = (ahead.submit(_fetch, [uris[i] for i in c], [sizes_bytes[i] for i in c], limits) for c in chunks)
        pending = next(jobs, None)
        while pending is not None:
            fetched, pending = pending.result(), next(jobs, None)
            yield from fetched


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
    chosen = [(uri, size) for uri, size, small in zip(uris, sizes_bytes, fits, strict=True) if small]
    fetched = iter(_fetch_whole([uri for uri, _ in chosen], [size for _, size in chosen]))
    return [next(fetched) if small else _too_large(size, limits) for small, size in zip(fits, sizes_bytes, strict=True)]


def _fetch_whole(uris: list[str], sizes_bytes: list[int | None]) -> list[Fetched]:
    """Download objects, and those again whose size is not the known one.

    A store may cut an answer short and state the shorter length. An object that was replaced keeps its new size.
    """
    fetched = fetch_objects(uris)
    sizes = [None if one.data is None else len(one.data) for one in fetched]
    doubtful = [i for i, size in enumerate(sizes) if size is not None and sizes_bytes[i] not in (None, size)]
    for i, again in zip(doubtful, fetch_objects([uris[i] for i in doubtful]), strict=True):
        if again.data is not None:
            fetched[i] = again
    return fetched


def _too_large(size: int | None, limits: DecodeLimits) -> Fetched:
    return Fetched(
        error_kind="too_large",
        error=f"the file has {size:,} bytes, more than the {limits.max_bytes:,} that are allowed",
    )


def _decoded(objects: Iterable[Fetched], limits: DecodeLimits, wanted_sizes: Sequence[int]) -> Iterator[LoadedImage]:
    """Decode objects in the fence of this thread; while it decodes one, the next ones are hashed and handed over."""
    fence = fence_of_this_thread()
    ahead: deque[tuple[Fetched, FencedFile | None, str | None]] = deque()
    for fetched in objects:
        if fetched.data is None:
            ahead.append((fetched, None, None))
        else:
            file = fence.give(fetched.data, wanted_sizes, limits)
            ahead.append((fetched, file, hashlib.sha256(fetched.data).hexdigest()))
        if len(ahead) == FILES_AHEAD:
            yield _loaded(fence, *ahead.popleft(), len(wanted_sizes))
    while ahead:
        yield _loaded(fence, *ahead.popleft(), len(wanted_sizes))


def _loaded(
    fence: DecoderFence, fetched: Fetched, file: FencedFile | None, content_sha256: str | None, sizes: int
) -> LoadedImage:
    if file is not None:
        size = len(fetched.data or b"")
        return LoadedImage(decodings=fence.images_of(file), content_sha256=content_sha256, size_bytes=size)
    failed = DecodedImage(error_kind=fetched.error_kind, error=fetched.error)
    return LoadedImage(decodings=(failed,) * max(1, sizes), content_sha256=None)
