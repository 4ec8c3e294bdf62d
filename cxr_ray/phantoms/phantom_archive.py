"""Write an archive of chest phantoms in the COVID-19 Radiography layout, with the difficulties of real archives.

The archive mixes PNG, JPEG and DICOM, patients have several views, some images occur again under another patient,
names have special characters, and a folder of uploads holds files that cannot be read.
"""

import csv
import io
import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np

from cxr_ray.archive.uris import open_filesystem
from cxr_ray.phantoms.phantom import PHANTOM_LABELS, draw_phantom
from cxr_ray.phantoms.phantom_files import Shot, dicom_bytes, dicom_of, encode_image, shot_files

# file name -> error kind of reading the file; the names have characters that are difficult for an object store
_UPLOADS = {
    "Ward 3 #17.png": "empty",
    "Röntgen Thorax.png": "truncated",
    "100% PA.png": "unsupported",
    "scan final (2).png": "too_large",
    "CR_0001.dcm": "no_pixels",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomArchive:
    """Description of the archive that `write_phantom_archive` wrote.

    Attributes:
        uri: prefix of the archive.
        images: number of images in the class folders; each image can be read and has a mask.
        broken: (path relative to `uri`, error kind) of each file that cannot be read.
        labels: path relative to `uri` -> label, for the images in the class folders.
    """

    uri: str
    images: int
    broken: tuple[tuple[str, str], ...]
    labels: dict[str, str]


def write_phantom_archive(
    uri: str,
    *,
    images_per_class: int = 80,
    size: int = 256,
    seed: int = 0,
    broken: int = 5,
    dicom_fraction: float = 0.1,
    jpeg_fraction: float = 0.3,
) -> PhantomArchive:
    """Draw an archive: `CLASS/images/*`, `CLASS/masks/*.png` (0 and 255), `metadata.csv`, `incoming/*`.

    The content depends only on the arguments; files with other names at `uri` are kept.

    Args:
        uri: prefix to write to, on any fsspec filesystem.
        images_per_class: number of images in each class folder, at least 1; a tenth of them are copies of others,
            one half of these byte for byte, the other half brightened and encoded again.
        size: height and width of every image in pixels, at least 32.
        seed: seed of the archive, at least 0.
        broken: number of unreadable files in `incoming/`.
        dicom_fraction: fraction of DICOM files (0 to 1), every second one MONOCHROME1.
        jpeg_fraction: fraction of JPEG files (0 to 1), in addition to the brightened copies; all others are PNG.

    Raises:
        ValueError: if there is less than one image per class, or the fractions are below 0 or sum to more than 1.
        StorageError: if the scheme of `uri` is unknown.
    """
    suffixes = _suffixes(images_per_class, dicom_fraction, jpeg_fraction)
    shots = []
    for label in PHANTOM_LABELS:
        planned = _plan_class(label, suffixes, seed)
        _write(uri, {path: data for shot in planned for path, data in shot_files(shot, size).items()})
        shots += planned
    uploads = _uploads(broken, seed=seed, size=size)
    _write(uri, {path: data for path, (data, _) in uploads.items()} | {"metadata.csv": _metadata(shots)})
    return PhantomArchive(
        uri=uri,
        images=len(shots),
        broken=tuple((path, kind) for path, (_, kind) in uploads.items()),
        labels={shot.path: shot.label for shot in shots},
    )


def _suffixes(images_per_class: int, dicom_fraction: float, jpeg_fraction: float) -> list[str]:
    """File suffixes of the images of one class, in the numbers that the fractions give."""
    if images_per_class < 1:
        raise ValueError(f"images_per_class must be >= 1; got {images_per_class}")
    if min(dicom_fraction, jpeg_fraction) < 0 or dicom_fraction + jpeg_fraction > 1:
        both = f"{dicom_fraction} and {jpeg_fraction}"
        raise ValueError(f"dicom_fraction and jpeg_fraction must be >= 0 and sum to <= 1; got {both}")
    dicoms, jpegs = round(dicom_fraction * images_per_class), round(jpeg_fraction * images_per_class)
    return ([".dcm"] * dicoms + [".jpg"] * jpegs + [".png"] * images_per_class)[:images_per_class]


def _plan_class(label: str, suffixes: list[str], seed: int) -> list[Shot]:
    """Plan the images of a class: their patients, views and formats, and which are copied under another name."""
    class_index = PHANTOM_LABELS.index(label)
    first_number = (seed * len(PHANTOM_LABELS) + class_index) * 1_000_000
    rng = np.random.default_rng([seed, class_index])
    shots = _take(label, rng.permutation(suffixes).tolist(), first_number, rng)
    dicoms = [i for i, shot in enumerate(shots) if shot.suffix == ".dcm"]
    for turn, i in enumerate(dicoms, start=class_index):
        shots[i] = replace(shots[i], inverted=turn % 2 == 0)

    films = rng.permutation([i for i, shot in enumerate(shots) if shot.suffix != ".dcm"]).tolist()
    copies = min(len(shots) // 10, len(films) // 2)
    for turn in range(copies):
        original, replaced = films[turn], films[turn + copies]
        exact = (turn + class_index) % 2 == 0
        shots[replaced] = _copy(shots[original], owner=shots[replaced].patient_id, exact=exact)
    return shots


def _take(label: str, suffixes: list[str], first_number: int, rng: np.random.Generator) -> list[Shot]:
    """Plan one image for each suffix; every patient has one to three images."""
    shots: list[Shot] = []
    patient, views_left = first_number, 0
    for number, suffix in enumerate(suffixes, start=1):
        if not views_left:
            patient, views_left = patient + 1, int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
        views_left -= 1
        shots.append(
            Shot(
                label=label,
                name=f"{label}-{number}",
                suffix=suffix,
                patient_id=f"phantom-{patient}",
                patient=patient,
                seed=first_number + number,
            )
        )
    return shots


def _copy(original: Shot, *, owner: str, exact: bool) -> Shot:
    if exact:
        return replace(original, name=f"{original.name} (copy)", patient_id=owner)
    return replace(original, name=f"{original.name} brighter #2 110%", suffix=".jpg", patient_id=owner, brightened=True)


def _uploads(number: int, *, seed: int, size: int) -> dict[str, tuple[bytes, str]]:
    """Make unreadable files, which cycle through the error kinds: path -> (content, error kind)."""
    shot = Shot(label="Normal", name="upload", suffix=".dcm", patient_id="phantom-0", patient=0, seed=seed)
    phantom = draw_phantom(shot.label, seed=seed, size=size)
    picture = encode_image(phantom.pixels, "PNG")
    no_pixels = dicom_of(phantom, shot)
    del no_pixels.PixelData
    contents = {
        "empty": b"",
        "truncated": picture[: len(picture) * 3 // 5],
        "unsupported": b"The radiograph was moved to the archive of the east wing.\n",
        "too_large": _png_that_claims(60_000, 60_000),
        "no_pixels": dicom_bytes(no_pixels),
    }
    uploads = {}
    for i in range(number):
        round_, (name, kind) = i // len(_UPLOADS), list(_UPLOADS.items())[i % len(_UPLOADS)]
        folder = f"incoming/{round_ + 1}" if round_ else "incoming"
        uploads[f"{folder}/{name}"] = (contents[kind], kind)
    return uploads


def _png_that_claims(width: int, height: int) -> bytes:
    """Make a small 8-bit greyscale PNG whose header claims an image of the given size in pixels."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(1000)),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def _metadata(shots: list[Shot]) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "label", "patient_id"])
    writer.writerows([shot.path, shot.label, shot.patient_id] for shot in shots)
    return table.getvalue().encode()


def _write(uri: str, files: dict[str, bytes]) -> None:
    """Write files, path relative to `uri` -> content, as many at the same time as the filesystem allows."""
    fs, root = open_filesystem(uri)
    for folder in sorted({path.rpartition("/")[0] for path in files}):
        fs.makedirs(f"{root}/{folder}".rstrip("/"), exist_ok=True)
    fs.pipe({f"{root}/{path}": data for path, data in files.items()})
