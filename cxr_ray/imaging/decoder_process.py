"""The process in which `decoder_fence` decodes image files: a decoder that crashes, hangs or fills memory ends it alone.

A request is a line of JSON on standard input. The bytes of the file and the answer are passed through the two
files in memory of the slot. A slot holds an answer as soon as the number at its start is that of the request, even if the
process has ended since. A line on standard output says that all requests read so far are answered: requests that come
together wake the other side once.
"""

import fcntl
import os
import resource
import signal
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from cxr_ray.imaging.decode import DecodedImage, decode_for_sizes, decode_image
from cxr_ray.imaging.dicom import DicomTags
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.memory_file import MemoryFile

WALL_PER_CPU = 10
"""Seconds on the clock for each allowed second of CPU time: a busy machine may give a process a tenth of a core."""
_HEAD = struct.Struct("<QQ")
"""Start of an answer: the number of the request, and the bytes of the JSON that follows; the pixels follow the JSON."""


class Request(msgspec.Struct, array_like=True, frozen=True):
    """What the process is asked to decode, and on which terms."""

    slot: int
    """Number of the slot that holds the file and takes the answer."""
    number: int
    """Number of the request, by which its answer is known."""
    file_bytes: int
    """Size of the file in bytes."""
    seconds: float
    """CPU seconds that the decoding may take."""
    memory_bytes: int
    """Bytes of memory that the decoding may take."""
    wanted_sizes: tuple[int, ...]
    """Sizes in pixels as `decode_for_sizes` takes them; empty means full scale."""
    limits: DecodeLimits
    """Bounds on the size, as `decode_image` takes them."""


class _Described(msgspec.Struct, array_like=True, frozen=True):
    """A decoded image without its pixels, whose shape is None where there are none."""

    shape: tuple[int, int] | None
    format: str | None
    width: int | None
    height: int | None
    error_kind: str | None
    error: str | None
    dicom: DicomTags | None


class _Answer(msgspec.Struct, array_like=True, frozen=True):
    images: list[_Described]
    """Every image once, in the order of their pixels."""
    order: list[int]
    """Place in `images` of the image for each wanted size."""


_ENCODER = msgspec.json.Encoder()
_REQUESTS, _ANSWERS = msgspec.json.Decoder(Request), msgspec.json.Decoder(_Answer)


def serve(printed: int, *slots: int) -> None:
    """Answer every request on standard input until it ends.

    Args:
        printed: number of the file that takes all output of the process; it is emptied before each image.
        slots: for each slot the numbers of two files in memory: one holds the bytes of the image file of a request,
            the other takes its answer.
    """
    answered = os.dup(1)
    files = [MemoryFile(slot) for slot in slots]
    fcntl.fcntl(printed, fcntl.F_SETFL, os.O_APPEND)
    for stream in (1, 2):
        os.dup2(printed, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while requests := os.read(0, 2**16):
        for line in requests.splitlines():
            request = _REQUESTS.decode(line)
            inbox, outbox = files[2 * request.slot :][:2]
            os.ftruncate(printed, 0)
            _limit_time(request.seconds)
            _write_answer(request.number, _decode(request, inbox.read(request.file_bytes)), outbox)
        _limit_time(0)
        os.write(answered, b"\n")


def write_request(request: Request) -> bytes:
    """Return the line that asks for a decoding."""
    return _ENCODER.encode(request) + b"\n"


def read_answer(number: int, outbox: MemoryFile) -> tuple[DecodedImage, ...] | None:
    """Read the images of an answer from its slot; an image that serves several sizes is one object.

    Returns:
        None if the slot does not hold the answer to the request of this number yet.
    """
    found, described_bytes = _HEAD.unpack(os.pread(outbox.number, _HEAD.size, 0))
    if found != number:
        return None
    answer = _ANSWERS.decode(outbox.read(described_bytes, _HEAD.size))
    end = _HEAD.size + described_bytes
    images = []
    for one in answer.images:
        pixels = None
        if one.shape is not None:
            pixels = outbox.read_pixels(one.shape, end)
            end += pixels.size
        images.append(
            DecodedImage(
                pixels=pixels,
                format=one.format,
                width=one.width,
                height=one.height,
                error_kind=one.error_kind,
                error=one.error,
                dicom=one.dicom,
            )
        )
    return tuple(images[place] for place in answer.order)


def _decode(request: Request, data: bytes) -> tuple[DecodedImage, ...]:
    _limit_memory(request.memory_bytes)
    if request.wanted_sizes:
        return decode_for_sizes(data, request.wanted_sizes, limits=request.limits)
    return (decode_image(data, limits=request.limits),)


def _write_answer(number: int, images: Sequence[DecodedImage], outbox: MemoryFile) -> None:
    """Write images to `outbox`: what is known of them, their pixels, and last of all the number of the request."""
    distinct = list({id(image): image for image in images}.values())
    order = [next(place for place, one in enumerate(distinct) if one is image) for image in images]
    described = _ENCODER.encode(_Answer([_described(image) for image in distinct], order))
    end = outbox.write(described, _HEAD.size)
    for image in distinct:
        if image.pixels is not None:
            end = outbox.write(np.ascontiguousarray(image.pixels).data.cast("B"), end)
    # a call of the kernel, so that no processor shows the number before what was written above
    os.pwrite(outbox.number, _HEAD.pack(number, len(described)), 0)


def _described(image: DecodedImage) -> _Described:
    shape = None if image.pixels is None else image.pixels.shape
    return _Described(shape, image.format, image.width, image.height, image.error_kind, image.error, image.dicom)


@lru_cache(maxsize=1)
def _limit_memory(more_bytes: int) -> None:
    """Bound the address space of this process to what it uses now and `more_bytes`, unless that is its bound already."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _limit_time(seconds: float) -> None:
    """Let the kernel end this process after `seconds` of CPU time, or ten times as long on the clock; 0 means never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_PER_CPU * seconds)
