"""The process in which `decoder_fence` decodes image files: a decoder that crashes, hangs or fills memory ends it alone.

A request is a line on standard input: the slot, the number of the request, the bytes of the file, the seconds that its
decoding may take, and the terms of the decoding as JSON. The bytes of the file and the answer are passed through the two
files in memory of the slot. A slot holds an answer as soon as the number at its start is that of the request, even if the
process has ended since. A line on standard output says that all requests read so far are answered: requests that come
together wake the other side once.
"""

import dataclasses
import fcntl
import json
import os
import resource
import signal
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from cxr_ray.imaging.decode import DecodedImage, decode_for_sizes, decode_image
from cxr_ray.imaging.dicom import DicomTags
from cxr_ray.imaging.limits import DecodeLimits

WALL_PER_CPU = 10
"""Seconds on the clock for each allowed second of CPU time: a busy machine may give a process a tenth of a core."""
_HEAD = struct.Struct("<QQ")
"""Start of an answer: the number of the request, and the bytes of the JSON that follows; the pixels follow the JSON."""
_FIRST_READ = 4096
"""Bytes of an answer that are read at once: its head and its JSON, unless texts in it are long."""
_FIELDS = ("format", "width", "height", "error_kind", "error")


def serve(printed: int, *slots: int) -> None:
    """Answer every request on standard input until it ends.

    Args:
        printed: number of the file that takes all output of the process; it is emptied before each image.
        slots: for each slot the numbers of two files in memory: one holds the bytes of the image file of a request,
            the other takes its answer.
    """
    answered = os.dup(1)
    fcntl.fcntl(printed, fcntl.F_SETFL, os.O_APPEND)
    for stream in (1, 2):
        os.dup2(printed, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while requests := os.read(0, 2**16):
        for request in requests.splitlines():
            slot, number, file_bytes, seconds, terms = request.split(b" ", 4)
            inbox, outbox = slots[2 * int(slot) :][:2]
            os.ftruncate(printed, 0)
            _limit_time(float(seconds))
            images = _decode(os.pread(inbox, int(file_bytes), 0), terms)
            _write_answer(int(number), images, outbox)
        _limit_time(0)
        os.write(answered, b"\n")


@lru_cache(maxsize=8)
def write_terms(wanted_sizes: Sequence[int], limits: DecodeLimits, memory_bytes: int) -> bytes:
    """Return the terms of a decoding as JSON: its sizes, its limits, and the bytes of memory that it may take."""
    return json.dumps([wanted_sizes, dataclasses.asdict(limits), memory_bytes]).encode()


def read_answer(number: int, outbox: int) -> tuple[DecodedImage, ...] | None:
    """Read the images of an answer from its slot; an image that serves several sizes is one object.

    Returns:
        None if the slot does not hold the answer to the request of this number yet.
    """
    start = os.pread(outbox, _FIRST_READ, 0)
    if len(start) < _HEAD.size or _HEAD.unpack_from(start)[0] != number:
        return None
    end = _HEAD.size + _HEAD.unpack_from(start)[1]
    described = start[_HEAD.size : end] if end <= _FIRST_READ else os.pread(outbox, end - _HEAD.size, _HEAD.size)
    listed, order = json.loads(described)
    images = []
    for shape, tags, fields in listed:
        pixels = None
        if shape is not None:
            pixels = np.empty(shape, np.uint8)
            end += os.preadv(outbox, [pixels.data], end)
        images.append(
            DecodedImage(
                pixels=pixels,
                dicom=DicomTags(**tags) if tags else None,
                **dict(zip(_FIELDS, fields, strict=True)),
            )
        )
    return tuple(images[number] for number in order)


@lru_cache(maxsize=8)
def _read_terms(terms: bytes) -> tuple[list[int], DecodeLimits, int]:
    wanted_sizes, limits, memory_bytes = json.loads(terms)
    return wanted_sizes, DecodeLimits(**limits), memory_bytes


def _decode(data: bytes, terms: bytes) -> tuple[DecodedImage, ...]:
    wanted_sizes, limits, memory_bytes = _read_terms(terms)
    _limit_memory(memory_bytes)
    if wanted_sizes:
        return decode_for_sizes(data, wanted_sizes, limits=limits)
    return (decode_image(data, limits=limits),)


def _write_answer(number: int, images: Sequence[DecodedImage], outbox: int) -> None:
    """Write images to `outbox`: what is known of them, their pixels, and last of all the number of the request."""
    distinct = {id(image): image for image in images}
    places = {key: place for place, key in enumerate(distinct)}
    listed, pixels = [], []
    for image in distinct.values():
        tags = image.dicom and dataclasses.asdict(image.dicom)
        shape = None if image.pixels is None else image.pixels.shape
        listed.append((shape, tags, [getattr(image, name) for name in _FIELDS]))
        if image.pixels is not None:
            pixels.append(np.ascontiguousarray(image.pixels).data)
    described = json.dumps((listed, [places[id(image)] for image in images])).encode()
    end = _HEAD.size + os.pwrite(outbox, described, _HEAD.size)
    for one in pixels:
        end += os.pwrite(outbox, one, end)
    os.pwrite(outbox, _HEAD.pack(number, len(described)), 0)


@lru_cache(maxsize=1)
def _limit_memory(more_bytes: int) -> None:
    """Bound the address space of this process to what it uses now and `more_bytes`, unless that is its bound already."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _limit_time(seconds: float) -> None:
    """Let the kernel end this process after `seconds` of CPU time, or ten times as long on the clock; 0 means never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_PER_CPU * seconds)
