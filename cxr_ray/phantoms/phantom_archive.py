"""An archive of chest phantoms in the COVID-19 Radiography layout, with all that real archives hold.

PNG, JPEG and DICOM stand side by side, patients have several views, pictures turn up again under another
patient, names are awkward, and a folder of uploads holds what cannot be read.
"""

import csv
import io
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cxr_ray.archive.uris import open_filesystem
from cxr_ray.phantoms.phantom import PHANTOM_LABELS, Phantom, draw_phantom

if TYPE_CHECKING:
    from pydicom import Dataset

# name -> the kind of error that reading it ends in; all of them awkward names for an object store
_UPLOADS = {
    "Ward 3 #17.png": "empty",
    "Röntgen Thorax.png": "truncated",
    "100% PA.png": "unsupported",
    "scan final (2).png": "too_large",
    "CR_0001.dcm": "no_pixels",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomArchive:
    """What `write_phantom_archive` wrote.

    Attributes:
        uri: the archive's prefix.
        images: number of images in the class folders; each of them can be read and has a mask.
        broken: (path relative to `uri`, error kind) of each file that cannot be read.
        labels: path relative to `uri` -> label, for the images in the class folders.
    """

    uri: str
    images: int
    broken: tuple[tuple[str, str], ...]
    labels: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shot:
    """One image file: which picture it holds, under which name and as what.

    Attributes:
        label: class folder.
        name: file name without suffix.
        suffix: `.png`, `.jpg` or `.dcm`.
        patient_id: who owns the file, according to `metadata.csv`.
        patient: whose anatomy is drawn.
        seed: of the picture; copies share it.
        inverted: stored as MONOCHROME1, for DICOM.
        brightened: a near duplicate.
    """

    label: str
    name: str
    suffix: str
    patient_id: str
    patient: int
    seed: int
    inverted: bool = False
    brightened: bool = False

    @property
    def path(self) -> str:
        return f"{self.label}/images/{self.name}{self.suffix}"

    @property
    def mask_path(self) -> str:
        return f"{self.label}/masks/{self.name}.png"


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

    Nothing but the arguments decides what is written; files of other names that stand at `uri` stay.

    Args:
        uri: prefix to write to, on any fsspec filesystem.
        images_per_class: images in each class folder; a tenth of them are copies of others, half of these
            byte for byte, half brightened and encoded anew.
        size: height and width of every image in pixels.
        seed: non-negative.
        broken: number of unreadable files in `incoming/`.
        dicom_fraction: share of DICOM files, every other one MONOCHROME1.
        jpeg_fraction: share of JPEG files, to which the brightened copies come; the rest is PNG.

    Raises:
        ValueError: fewer than one image per class, or fractions that are not shares of one whole.
    """
    suffixes = _suffixes(images_per_class, dicom_fraction, jpeg_fraction)
    shots = []
    for label in PHANTOM_LABELS:
        planned = _plan_class(label, suffixes, seed)
        _write(uri, {path: data for shot in planned for path, data in _files(shot, size).items()})
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
    """The formats of one class, as many of each as asked for."""
    if images_per_class < 1:
        raise ValueError(f"images_per_class must be >= 1; got {images_per_class}")
    if min(dicom_fraction, jpeg_fraction) < 0 or dicom_fraction + jpeg_fraction > 1:
        both = f"{dicom_fraction} and {jpeg_fraction}"
        raise ValueError(f"dicom_fraction and jpeg_fraction must be >= 0, together <= 1; got {both}")
    dicoms, jpegs = round(dicom_fraction * images_per_class), round(jpeg_fraction * images_per_class)
    return ([".dcm"] * dicoms + [".jpg"] * jpegs + [".png"] * images_per_class)[:images_per_class]


def _plan_class(label: str, suffixes: list[str], seed: int) -> list[_Shot]:
    """Who is taken how often, in which format, and which pictures turn up again under another name."""
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
        original, place = films[turn], films[turn + copies]
        exact = (turn + class_index) % 2 == 0
        shots[place] = _copy(shots[original], owner=shots[place].patient_id, exact=exact)
    return shots


def _take(label: str, suffixes: list[str], first_number: int, rng: np.random.Generator) -> list[_Shot]:
    """One shot for each suffix, of patients who are seen one to three times."""
    shots: list[_Shot] = []
    patient, views_left = first_number, 0
    for number, suffix in enumerate(suffixes, start=1):
        if not views_left:
            patient, views_left = patient + 1, int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
        views_left -= 1
        shots.append(
            _Shot(
                label=label,
                name=f"{label}-{number}",
                suffix=suffix,
                patient_id=f"phantom-{patient}",
                patient=patient,
                seed=first_number + number,
            )
        )
    return shots


def _copy(original: _Shot, *, owner: str, exact: bool) -> _Shot:
    if exact:
        return replace(original, name=f"{original.name} (copy)", patient_id=owner)
    return replace(original, name=f"{original.name} brighter #2 110%", suffix=".jpg", patient_id=owner, brightened=True)


def _files(shot: _Shot, size: int) -> dict[str, bytes]:
    """The image and the mask of a shot, path -> content."""
    phantom = draw_phantom(shot.label, seed=shot.seed, size=size, patient=shot.patient)
    pixels = phantom.pixels
    if shot.brightened:
        pixels = np.clip(1.06 * pixels + 4, 0, 255).astype(np.uint8)
    match shot.suffix:
        case ".dcm":
            image = _dicom_bytes(_dicom(phantom, shot))
        case ".jpg":
            image = _encode(pixels, "JPEG", quality=92)
        case _:
            image = _encode(pixels, "PNG")
    return {shot.path: image, shot.mask_path: _encode(phantom.lung_mask.astype(np.uint8) * 255, "PNG")}


def _encode(pixels: np.ndarray, image_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def _dicom(phantom: Phantom, shot: _Shot) -> "Dataset":
    """A DX or CR image, 12 bits stored in 16, with a window over its whole range.

    DICOM PS3.3: C.7.6.3 (image pixels), C.11.1 (modality LUT), C.11.2 (window).
    """
    stored = np.rint(phantom.pixels * (4095 / 255)).astype(np.uint16)
    slope, intercept = (2, -1024) if shot.seed % 2 else (1, 0)
    dataset = _dicom_header(shot, modality="CR" if shot.seed % 2 else "DX")
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if shot.inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if shot.inverted else "IDENTITY"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slope, intercept, "US"
    dataset.WindowCenter = slope * 2047.5 + intercept + 0.5
    dataset.WindowWidth = slope * 4095 + 1
    dataset.PixelSpacing = dataset.ImagerPixelSpacing = [round(350 / stored.shape[0], 4)] * 2  # a 35 cm film
    dataset.PixelData = (4095 - stored if shot.inverted else stored).astype("<u2").tobytes()
    return dataset


def _dicom_header(shot: _Shot, *, modality: str) -> "Dataset":
    """Patient, study, series and equipment; every identifier follows from the shot."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = (
        ComputedRadiographyImageStorage if modality == "CR" else DigitalXRayImageStorageForPresentation
    )
    for level in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, level, generate_uid(entropy_srcs=["cxr_ray phantom", level, str(shot.seed)]))
    dataset.PatientName = f"Phantom^{shot.patient}"
    dataset.PatientID = shot.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime = "20200301", "120000"
    dataset.AccessionNumber = dataset.StudyID = str(shot.seed)
    dataset.ReferringPhysicianName = ""
    dataset.Manufacturer = "cxr_ray"
    dataset.Modality = modality
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    return dataset


def _dicom_bytes(dataset: "Dataset") -> bytes:
    from pydicom import dcmwrite

    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _uploads(number: int, *, seed: int, size: int) -> dict[str, tuple[bytes, str]]:
    """Unreadable files: path -> (content, error kind), the kinds in turn."""
    shot = _Shot(label="Normal", name="upload", suffix=".dcm", patient_id="phantom-0", patient=0, seed=seed)
    phantom = draw_phantom(shot.label, seed=seed, size=size)
    picture = _encode(phantom.pixels, "PNG")
    no_pixels = _dicom(phantom, shot)
    del no_pixels.PixelData
    contents = {
        "empty": b"",
        "truncated": picture[: len(picture) * 3 // 5],
        "unsupported": b"The radiograph was moved to the archive of the east wing.\n",
        "too_large": _png_that_claims(60_000, 60_000),
        "no_pixels": _dicom_bytes(no_pixels),
    }
    uploads = {}
    for i in range(number):
        round_, (name, kind) = i // len(_UPLOADS), list(_UPLOADS.items())[i % len(_UPLOADS)]
        folder = f"incoming/{round_ + 1}" if round_ else "incoming"
        uploads[f"{folder}/{name}"] = (contents[kind], kind)
    return uploads


def _png_that_claims(width: int, height: int) -> bytes:
    """A few bytes of 8-bit greyscale PNG whose header promises an image of any size."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(1000)),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def _metadata(shots: list[_Shot]) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "label", "patient_id"])
    writer.writerows([shot.path, shot.label, shot.patient_id] for shot in shots)
    return table.getvalue().encode()


def _write(uri: str, files: dict[str, bytes]) -> None:
    """Put files, path relative to `uri` -> content, as many at once as the filesystem likes."""
    fs, root = open_filesystem(uri)
    for folder in sorted({path.rpartition("/")[0] for path in files}):
        fs.makedirs(f"{root}/{folder}".rstrip("/"), exist_ok=True)
    fs.pipe({f"{root}/{path}": data for path, data in files.items()})
