"""A file in memory through which two processes pass bytes."""

import mmap
import os
from typing import Self

import numpy as np

MAPPED_BYTES = 16 * 2**20
"""Bytes at the start of each file that both processes map, because the kernel takes longer to copy them; more than most
radiographs have."""


class MemoryFile:
    """A file in memory, open in this process and in others that were given its number.

    Whoever reads must learn from elsewhere what was written, and how many bytes.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.held_bytes = 0
        """Bytes at the start of the file for which memory may be held, as far as this process used them."""
        self._map = mmap.mmap(number, MAPPED_BYTES)

    @classmethod
    def create(cls) -> Self:
        """Create a file of zeros that is gone when the last process closes it."""
        number = os.memfd_create("cxr_ray")
        os.ftruncate(number, MAPPED_BYTES)
        return cls(number)

    def write(self, data: bytes | memoryview, offset: int = 0) -> int:
        """Write bytes at an offset; returns the offset of their end."""
        end = offset + len(data)
        self.held_bytes = max(self.held_bytes, end)
        if end <= MAPPED_BYTES:
            self._map[offset:end] = data
        else:
            os.pwrite(self.number, data, offset)
        return end

    def read(self, size: int, offset: int = 0) -> bytes:
        """Read `size` bytes at an offset."""
        if offset + size <= MAPPED_BYTES:
            return self._map[offset : offset + size]
        return os.pread(self.number, size, offset)

    def read_pixels(self, shape: tuple[int, int], offset: int) -> np.ndarray:
        """Read an image, uint8 [H, W], at an offset."""
        size = shape[0] * shape[1]
        self.held_bytes = max(self.held_bytes, offset + size)
        if offset + size <= MAPPED_BYTES:
            return np.frombuffer(self._map, np.uint8, size, offset).reshape(shape).copy()
        pixels = np.empty(shape, np.uint8)
        os.preadv(self.number, [pixels.data], offset)
        return pixels

    def give_back(self) -> None:
        """Give back all memory; new memory costs more than the copying, because the kernel fills it with zeros first."""
        os.ftruncate(self.number, 0)
        os.ftruncate(self.number, MAPPED_BYTES)
        self.held_bytes = 0

    def close(self) -> None:
        """Close the file in this process."""
        self._map.close()
        os.close(self.number)
