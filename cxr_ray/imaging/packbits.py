"""DICOM RLE Lossless (PS3.5, Annex G): byte planes, each compressed by PackBits."""

import struct

from cxr_ray.imaging.limits import ErrorKind, ImageRefused


def decode_rle_frame(frame: bytes, *, pixels: int, samples_per_pixel: int, bytes_per_sample: int) -> bytes:
    """Expand one frame to little-endian samples, one colour plane after the other.

    The result never has more bytes than the arguments ask for, however long the runs are.

    Args:
        frame: 64 bytes of header, then one segment for each byte of a sample, most significant byte first.
        pixels: number of pixels of the image.
        samples_per_pixel: number of colour planes.
        bytes_per_sample: number of bytes of a sample, 1 or 2.

    Returns:
        `pixels * samples_per_pixel * bytes_per_sample` bytes.

    Raises:
        ImageRefused: `truncated` if a segment ends early, `unreadable` if the header has another number of segments.
    """
    if len(frame) < 64:
        raise ImageRefused(ErrorKind.TRUNCATED, "RLE frame ends in its header")
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != samples_per_pixel * bytes_per_sample:
        raise ImageRefused(
            ErrorKind.UNREADABLE,
            f"RLE frame has {count} segments; the DICOM header asks for {samples_per_pixel * bytes_per_sample}",
        )
    samples = bytearray(pixels * count)
    ends = [*offsets[1:count], len(frame)]
    for segment, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        plane, byte = divmod(segment, bytes_per_sample)
        first = plane * pixels * bytes_per_sample + bytes_per_sample - 1 - byte
        stop = (plane + 1) * pixels * bytes_per_sample
        samples[first:stop:bytes_per_sample] = unpack_bits(frame[start:end], pixels)
    return bytes(samples)


def unpack_bits(packed: bytes, size: int) -> bytes:
    """Expand PackBits runs to exactly `size` bytes; further input is padding and is ignored.

    Raises:
        ImageRefused: `truncated` if the runs give fewer bytes.
    """
    expanded = bytearray()
    position = 0
    while len(expanded) < size:
        if position >= len(packed):
            raise ImageRefused(ErrorKind.TRUNCATED, f"RLE segment gives {len(expanded)} bytes; {size} are needed")
        run = packed[position]
        if run > 128:  # a run of (257 - run) copies of the next byte
            expanded += packed[position + 1 : position + 2] * (257 - run)
            position += 2
        elif run < 128:  # (run + 1) literal bytes
            expanded += packed[position + 1 : position + 2 + run]
            position += 2 + run
        else:
            position += 1
    return bytes(expanded[:size])
