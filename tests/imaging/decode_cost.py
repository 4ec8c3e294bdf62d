"""Measure the CPU time that loading an image takes, by format: `python -m tests.imaging.decode_cost --against OTHER_CHECKOUT`.

The files are drawn here. Each is downloaded from a folder, hashed, decoded in the fence and resized, as jobs do it, on one
core. Rounds of this checkout and of another one alternate, so that both meet the same machine. What the download alone takes
is measured too, and is not part of the total.
"""

import argparse
import hashlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.side_by_side import measured_in_turn, serve, use_one_core

WANTED = 224


def drawn(height, width, bits):
    """Noisy pixels of 8 or 12 bits that compress about as a radiograph does."""
    y, x = np.mgrid[:height, :width]
    smooth = 0.5 + 0.36 * np.sin(4 * x / width) * np.cos(5 * y / height)
    noise = np.random.default_rng(7).normal(0, 0.006, smooth.shape)
    pixels = (smooth + noise).clip(0, 1) * (2**bits - 1)
    return np.rint(pixels).astype(np.uint8 if bits == 8 else np.uint16)


def draw_files(folder):
    """Write one file of each kind; the name says which."""
    from openjpeg.utils import encode_array

    from tests.imaging.conftest import transcoded, write_dicom

    window = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    raw, square = drawn(2500, 2050, 12), drawn(2048, 2048, 12)
    files = {
        "dicom raw 2500x2050": write_dicom(raw, **window),
        "dicom raw 2500x2050 without window": write_dicom(raw, BitsStored=12),
        "dicom jpeg-ls 2048": transcoded(write_dicom(square, **window), "JPEGLSLossless"),
    }
    for name, syntax, options in (("jpeg 2000", "90", {}), ("jpeg 2000 lossy", "91", {"compression_ratios": [10]})):
        stream = encode_array(square, bits_stored=12, **options)
        data = write_dicom(square, syntax=f"1.2.840.10008.1.2.4.{syntax}", codestream=stream, **window)
        files[f"dicom {name} 2048"] = data
    grey = Image.fromarray(drawn(1024, 1024, 8))
    for name, image, kind in (
        ("jpeg 1024", grey, "JPEG"),
        ("png 1024", grey, "PNG"),
        ("png 1024 of 16 bits", Image.fromarray(drawn(1024, 1024, 12)), "PNG"),
        ("png 224", Image.fromarray(drawn(224, 224, 8)), "PNG"),
    ):
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=90)
        files[name] = buffer.getvalue()
    for name, data in files.items():
        Path(folder, name).write_bytes(data)


def cpu_ms(work):
    from cxr_ray.imaging.decoder_fence import fence_of_this_thread

    fence = fence_of_this_thread()
    began, child_began = time.process_time(), fence.cpu_seconds()
    result = work()
    child = fence.cpu_seconds() - child_began
    return 1e3 * (time.process_time() - began + child), 1e3 * child, result


def measured(name, copies):
    """CPU ms for an image: all but the download, and of that the process that decodes, SHA-256 and the resizing."""
    from cxr_ray.archive.fetch import fetch_objects
    from cxr_ray.imaging.load import load_images
    from cxr_ray.imaging.resize import resize_image

    path = Path(name)
    uris = [name] * copies

    def whole():
        for image in load_images(uris, [path.stat().st_size] * copies, wanted_sizes=[WANTED]):
            pixels = resize_image(image.decoded.pixels, WANTED)
        return image.decoded, pixels

    total, child, (decoded, pixels) = cpu_ms(whole)
    download, _, _ = cpu_ms(lambda: fetch_objects(uris))
    data = path.read_bytes()
    sha256, _, _ = cpu_ms(lambda: [hashlib.sha256(data).hexdigest() for _ in range(copies)])
    resize, _, _ = cpu_ms(lambda: [resize_image(decoded.pixels, WANTED) for _ in range(copies)])
    parts = {"total": total - download, "decoder": child, "sha256": sha256, "resize": resize, "download": download}
    return {name: ms / copies for name, ms in parts.items()} | {"pixels": hashlib.sha256(pixels).hexdigest()[:12]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="folder of another checkout, such as a git worktree")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=16, help="times that a file is loaded in a round")
    parser.add_argument("--only", default="", help="part of the name of a kind of file")
    args = parser.parse_args()
    use_one_core()
    print("median CPU ms an image, on one core        total (min to max)   decoder  sha256  resize  download")
    with tempfile.TemporaryDirectory() as folder:
        draw_files(folder)
        for path in sorted(path for path in Path(folder).iterdir() if args.only in path.name):
            case = [str(path), args.copies]
            for place, results in enumerate(measured_in_turn(__file__, case, against=args.against, rounds=args.rounds)):
                label = "  this checkout" if place else path.name
                median = {k: statistics.median(r[k] for r in results) for k in results[0] if k != "pixels"}
                span = f"({min(r['total'] for r in results):.2f} to {max(r['total'] for r in results):.2f})"
                parts = "  ".join(f"{median[k]:7.2f}" for k in ("decoder", "sha256", "resize", "download"))
                print(f"{label:40} {median['total']:7.2f} {span:18} {parts}  {results[0]['pixels']}", flush=True)


if __name__ == "__main__":
    serve(measured) if "--serve" in sys.argv else main()
