"""The process in which `decoder_fence` decodes image files: a decoder that crashes, hangs or fills memory ends it alone.

A request and its answer are each a line of JSON; the bytes of a file and its pixels are passed through files in memory.
"""

import dataclasses
import fcntl
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cxr_ray.imaging.decode import DecodedImage, decode_for_sizes, decode_image
from cxr_ray.imaging.dicom import DicomTags
from cxr_ray.imaging.limits import DecodeLimits

WALL_PER_CPU = 10
"""Seconds on the clock for each allowed second of CPU time: a busy machine may give a process a tenth of a core."""


def serve(printed: int, *slots: int) -> None:
    """Answer every request on standard input until it ends.

    Args:
        printed: number of the file that takes all output of the process; it is emptied after each image.
        slots: for each slot the numbers of two files in memory: one holds the bytes of the image file of a request,
            the other takes the pixels of its answer.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    fcntl.fcntl(printed, fcntl.F_SETFL, os.O_APPEND)
    for stream in (1, 2):
        os.dup2(printed, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    permitted = 0
    for line in sys.stdin:
        request = json.loads(line)
        if request["memory_bytes"] != permitted:
            permitted = request["memory_bytes"]
            _limit_memory(permitted)
        inbox, outbox = slots[2 * request["slot"] :][:2]
        _limit_time(request["seconds"])
        images = _decode(os.pread(inbox, request["file_bytes"], 0), request)
        answer = _written(images, outbox)
        _limit_time(0)
        os.ftruncate(printed, 0)
        print(answer, file=answers)


def read_answer(line: bytes, outbox: int) -> tuple[DecodedImage, ...]:
    """Read the images of an answer of `serve`; an image that serves several sizes is one object."""
    answer = json.loads(line)
    images = []
    for shape, offset, tags, fields in answer["images"]:
        pixels = None
        if shape is not None:
            pixels = np.empty(shape, np.uint8)
            os.preadv(outbox, [pixels.data], offset)
        images.append(DecodedImage(pixels=pixels, dicom=DicomTags(**tags) if tags else None, **fields))
    return tuple(images[number] for number in answer["order"])


def _decode(data: bytes, request: dict[str, Any]) -> tuple[DecodedImage, ...]:
    limits = DecodeLimits(**request["limits"])
    if request["wanted_sizes"]:
        return decode_for_sizes(data, request["wanted_sizes"], limits=limits)
    return (decode_image(data, limits=limits),)


def _written(images: tuple[DecodedImage, ...], outbox: int) -> str:
    """Write the pixels of the images to `outbox`, and return everything else about them as JSON."""
    distinct = {id(image): image for image in images}
    listed, offset = [], 0
    for image in distinct.values():
        names = ("format", "width", "height", "error_kind", "error")
        fields = {name: getattr(image, name) for name in names}
        tags = image.dicom and dataclasses.asdict(image.dicom)
        shape = None if image.pixels is None else image.pixels.shape
        listed.append((shape, offset, tags, fields))
        if image.pixels is not None:
            offset += os.pwrite(outbox, np.ascontiguousarray(image.pixels).data, offset)
    numbers = {key: number for number, key in enumerate(distinct)}
    return json.dumps({"images": listed, "order": [numbers[id(image)] for image in images]})


def _limit_memory(more_bytes: int) -> None:
    """Bound the address space of this process to what it uses now and `more_bytes`."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _limit_time(seconds: float) -> None:
    """Let the kernel end this process after `seconds` of CPU time, or ten times as long on the clock; 0 means never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_PER_CPU * seconds)
