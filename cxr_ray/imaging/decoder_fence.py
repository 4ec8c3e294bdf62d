"""Decode image files in a process of their own, so that no file can end, stop or fill the process that asks."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import IO

from cxr_ray.archive.recognise import HEAD_BYTES, recognise_format
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.imaging.decoder_process import Request, read_answer, write_request
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind
from cxr_ray.imaging.memory_file import MAPPED_BYTES, MemoryFile

FILES_TOGETHER = 4
"""Files that are handed over together, so that each side wakes the other once for so many."""
FILES_AHEAD = 2 * FILES_TOGETHER
"""Maximum number of files that a fence holds: half are decoded while the other half are handed over or taken back."""
BYTES_AHEAD = 32 * 2**20
"""Bytes of files from which a fence holds no second file, whose pixels are larger still."""
BYTES_HELD = 2 * BYTES_AHEAD
"""Bytes of memory that a fence keeps for the next files and their pixels: new memory costs more than the copying itself."""

_CODE = (
    "import sys; count = 1 + int(sys.argv[1]); sys.path[:] = sys.argv[1 + count:]; "
    "from cxr_ray.imaging.decoder_process import serve; serve(*map(int, sys.argv[2:1 + count]))"
)
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_OUT_OF_MEMORY = (b"bad_alloc", b"Cannot allocate memory", b"MemoryError", b"out of memory", b"Out of memory")


@dataclass(eq=False)
class FencedFile:
    """A file that a fence was given, and its images as soon as they are decoded."""

    data: bytes
    wanted_sizes: Sequence[int]
    limits: DecodeLimits
    images: tuple[DecodedImage, ...] | None = None

    def failed(self, kind: ErrorKind, reason: str) -> tuple[DecodedImage, ...]:
        """Return an error for each wanted size."""
        found = recognise_format(self.data[:HEAD_BYTES])
        image = DecodedImage(format=found, error_kind=kind.value, error=f"{found or 'file'}: {reason}")
        return (image,) * max(1, len(self.wanted_sizes))


class DecoderFence:
    """Decodes files, in order, in a child process that lives until a file ends it or the fence is gone.

    The child has bounds on its memory and its time, see `memory_for` and `seconds_for`. A file that ends the child is an
    error of one of these kinds, and the files after it are decoded by a new child:

    - `decoder_timeout`: the decoder took longer than the bound;
    - `too_large`: the decoder ran out of memory;
    - `decoder_crashed`: the decoder aborted or was killed by a signal.

    A fence belongs to one thread. Several files may be given before the images of the first are asked for.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._waiting: deque[FencedFile] = deque()

    def give(self, data: bytes, wanted_sizes: Sequence[int], limits: DecodeLimits) -> FencedFile:
        """Begin to decode a file, after those that were given before.

        Args:
            data: bytes of a whole file.
            wanted_sizes: sizes in pixels as `decode_for_sizes` takes them; empty means full scale.
            limits: bounds on the size, the memory and the time of the decoding.
        """
        while len(self._waiting) >= FILES_AHEAD or (self._waiting and self._bytes_ahead() + len(data) > BYTES_AHEAD):
            self._receive()
        if self._child is None or not self._child.is_of_this_process():
            self._child = _Child()
            weakref.finalize(self, self._child.end)
        file = FencedFile(data, wanted_sizes, limits)
        self._waiting.append(file)
        self._child.ask(file)
        return file

    def _bytes_ahead(self) -> int:
        return sum(len(file.data) for file in self._waiting)

    def images_of(self, file: FencedFile) -> tuple[DecodedImage, ...]:
        """Return the images of a file that `give` returned, one for each wanted size, as `decode_for_sizes` does."""
        while file.images is None:
            self._receive()
        return file.images

    def cpu_seconds(self) -> float:
        """Return the CPU time of the child process in seconds; 0 without a child, and from the start again in a new one."""
        return 0.0 if self._child is None else self._child.cpu_seconds()

    def _receive(self) -> None:
        """Wait for the images of the first file that waits; if it ended the child, give the others to a new one."""
        if self._child is None:
            raise RuntimeError("a file must be given to this fence before its images are asked for")
        file = self._waiting.popleft()
        file.images = self._child.answer()
        if file.images is None:
            file.images = file.failed(*self._child.cause_of_death())
            self._child = _Child()
            weakref.finalize(self, self._child.end)
            for other in self._waiting:
                self._child.ask(other)


class _Child:
    """The child process of a fence, with the files in memory through which it gets bytes and gives pixels."""

    def __init__(self) -> None:
        self._printed = os.memfd_create("decoder")
        self._files = [MemoryFile.create() for _ in range(2 * FILES_AHEAD)]
        self._free = list(range(FILES_AHEAD))
        self._in_use: deque[int] = deque()
        self._asked, self._answered = 0, 0
        self._unsent: list[bytes] = []
        numbers = [self._printed, *(file.number for file in self._files)]
        paths = [path for path in sys.path if path]
        self._process = subprocess.Popen(  # noqa: S603  this interpreter, with numbers and the paths of its modules
            [sys.executable, "-c", _CODE, str(len(numbers)), *map(str, numbers), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
            pass_fds=numbers,
            start_new_session=True,
        )
        self._owner = os.getpid()

    def is_of_this_process(self) -> bool:
        """Whether this process started the child, and not one that this process is a fork of."""
        return self._owner == os.getpid()

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process in seconds, from its clock (see clock_getcpuclockid in the C library)."""
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def ask(self, file: FencedFile) -> None:
        """Hand over a file, now or with the files after it; at most `FILES_AHEAD` may wait for their answers."""
        slot = heappop(self._free)  # the first one, because its memory is there already
        self._in_use.append(slot)
        self._asked += 1
        self._files[2 * slot].write(file.data)
        request = Request(
            slot,
            self._asked,
            len(file.data),
            seconds_for(len(file.data), file.limits),
            memory_for(file.limits),
            tuple(file.wanted_sizes),
            file.limits,
        )
        self._unsent.append(write_request(request))
        if len(self._unsent) == FILES_TOGETHER:
            self._send()

    def answer(self) -> tuple[DecodedImage, ...] | None:
        """Wait for the images of the first file that has none; None if the process died over it."""
        slot = self._in_use.popleft()
        self._answered += 1
        inbox, outbox = self._files[2 * slot :][:2]
        answered: IO[bytes] = self._process.stdout  # type: ignore[assignment]  # a pipe, see __init__
        running = True
        while (images := read_answer(self._answered, outbox)) is None and running:
            self._send()
            running = bool(os.read(answered.fileno(), 2**16))
        heappush(self._free, slot)
        for file in (inbox, outbox):
            if file.held_bytes > MAPPED_BYTES or sum(other.held_bytes for other in self._files) > BYTES_HELD:
                file.give_back()
        return images

    def _send(self) -> None:
        """Send the requests that were kept for company; in one write, which a pipe does not divide."""
        requests: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # a pipe, see __init__
        with suppress(BrokenPipeError):  # it has just died, and `answer` says so
            os.write(requests.fileno(), b"".join(self._unsent))
        self._unsent.clear()

    def cause_of_death(self) -> tuple[ErrorKind, str]:
        """Say why the process died, from how it ended and from what its libraries printed last."""
        code = self._process.wait()
        printed = os.pread(self._printed, 2**16, max(0, os.fstat(self._printed).st_size - 2**16))
        self.end()
        if -code in (signal.SIGPROF, signal.SIGALRM):
            return ErrorKind.DECODER_TIMEOUT, "its decoder did not end in time; the limit is max_decode_seconds"
        if any(text in printed for text in _OUT_OF_MEMORY):
            return ErrorKind.TOO_LARGE, "its decoder asked for more memory than max_megabytes allows"
        if code < 0:
            return ErrorKind.DECODER_CRASHED, f"its decoder crashed ({signal.Signals(-code).name})"
        return ErrorKind.DECODER_CRASHED, f"its decoder ended the process with exit code {code}"

    def end(self) -> None:
        """End the process if it still runs, and close its files."""
        if not self._files or not self.is_of_this_process():
            return
        self._process.kill()
        with suppress(BrokenPipeError):  # a request that was not read
            self._process.communicate()
        os.close(self._printed)
        for file in self._files:
            file.close()
        self._files = []


def memory_for(limits: DecodeLimits) -> int:
    """Bytes of memory that decoding a file may take: six copies of the largest permitted image, and 1 GiB for libraries."""
    return 6 * limits.max_bytes + 2**30


def seconds_for(file_bytes: int, limits: DecodeLimits) -> float:
    """CPU seconds that decoding a file may take: `max_seconds`, and one second for each MB of the file."""
    return limits.max_seconds + file_bytes / 1e6


_FENCES = threading.local()


def decode_fenced(data: bytes, wanted_size: int | None = None, *, limits: DecodeLimits) -> DecodedImage:
    """Decode one file as `decode_image` does, in the fence of the calling thread."""
    fence = fence_of_this_thread()
    return fence.images_of(fence.give(data, () if wanted_size is None else (wanted_size,), limits))[0]


def fence_of_this_thread() -> DecoderFence:
    """Return the fence that belongs to the calling thread; it is made at the first call."""
    if not hasattr(_FENCES, "fence"):
        _FENCES.fence = DecoderFence()
    fence: DecoderFence = _FENCES.fence
    return fence
