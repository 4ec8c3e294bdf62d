"""A small archive of sound and broken files, and bundles of random weights."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

LABELS = ("COVID", "Lung_Opacity", "Normal", "Viral_Pneumonia")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "right", "lung", "lungs", "the", "of", "field"]


def encode(pixels, image_format="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def write_dicom(path, pixels, **tags):
    from pydicom import Dataset, dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": "1.2.3.4",
        "Modality": "DX",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in (values | tags).items():
        setattr(dataset, keyword, value)
    dcmwrite(path, dataset, enforce_file_format=True)


@pytest.fixture(scope="session")
def radiograph():
    """uint8 [90, 70], smooth."""
    y, x = np.mgrid[0:90, 0:70]
    return np.rint(127 + 110 * np.sin(y / 17) * np.cos(x / 13)).astype(np.uint8)


@pytest.fixture(scope="session")
def archive(tmp_path_factory, radiograph):
    """Rows (image_id, uri, size_bytes) of every kind of file."""
    folder = tmp_path_factory.mktemp("archive")
    png = encode(radiograph)
    contents = {
        "a.png": png,
        "b.jpg": encode(radiograph, "JPEG"),
        "cut.png": png[: len(png) // 2],
        "empty.png": b"",
        "missing.png": None,
        "notes.png": b"the film was lost",
        "wide.png": encode(np.zeros((2000, 2000), np.uint8)),
        "z.png": encode(255 - radiograph),
    }
    rows = []
    for name, content in contents.items():
        if content is not None:
            (folder / name).write_bytes(content)
        rows.append({"image_id": name, "uri": str(folder / name), "size_bytes": len(content or b"")})
    write_dicom(folder / "x.dcm", radiograph, PatientID="MRN-0042", PatientName="Roe^Jane", ViewPosition="PA")
    rows.append({"image_id": "x.dcm", "uri": str(folder / "x.dcm"), "size_bytes": None})
    # the listing's word is taken: there is no such object, and nobody looks
    rows.append({"image_id": "huge.png", "uri": str(folder / "huge.png"), "size_bytes": 10**12})
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64())])
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture(scope="session")
def save_random():
    """Save a bundle of random weights at a URI; its card."""

    def save(uri, *, seed=0, nan=False, **card):
        import torch

        from cxr_ray.models.backbones import build_backbone
        from cxr_ray.models.bundle import save_bundle

        card = {"kind": "classifier", "backbone": "efficientnet_b0", "labels": LABELS, "image_size": 32} | card
        torch.manual_seed(seed)
        model = build_backbone(card["backbone"], num_classes=len(card["labels"]), image_size=card["image_size"])
        with torch.no_grad():  # unscaled, every probability would be 1/C
            model.get_classifier().weight.mul_(float("nan") if nan else 1000)
        return save_bundle(str(uri), model.state_dict(), **card)

    return save


@pytest.fixture(scope="session")
def segmenting_weights(tmp_path_factory):
    """A BiomedCLIP and a SAM, so small that a forward pass takes milliseconds."""
    import torch
    from safetensors.torch import save_file

    from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig, PromptTokenizer
    from cxr_ray.models.biomedclip_checkpoint import save_biomedclip
    from cxr_ray.models.sam import SamConfig, build_sam

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    clip = BiomedClip(
        BiomedClipConfig(
            vision_hidden=64, vision_layers=3, vision_heads=1, vision_mlp=64, image_size=64, text_hidden=64,
            text_layers=1, text_heads=1, text_mlp=64, vocab_size=len(WORDS), text_positions=16, context=16,
            projection=16, text_projection_hidden=16,
        )
    )  # fmt: skip
    save_biomedclip(str(folder / "clip"), clip, PromptTokenizer(WORDS, context=16))
    sam = build_sam(
        SamConfig(
            encoder_depth=2, encoder_embed_dim=32, encoder_num_heads=2, encoder_global_attn_indexes=(1,),
            prompt_embed_dim=32, image_size=128,
        )
    )  # fmt: skip
    save_file(sam.state_dict(), folder / "sam.safetensors")
    return {"clip_uri": str(folder / "clip"), "sam_uri": str(folder / "sam.safetensors")}


@pytest.fixture(scope="session")
def save_student():
    """Save a student's bundle, two tiny networks for 32 px, at a URI; random weights, or all of one value."""

    def save(uri, *, fill=None):
        import torch

        from cxr_ray.models.bundle import save_bundle
        from cxr_ray.models.student import StudentCard, build_student, ensemble_weights, member_weights

        torch.manual_seed(3)
        members = [member_weights(build_student((4, 8, 8))) for _ in range(2)]
        if fill is not None:
            members = [{name: torch.full_like(tensor, fill) for name, tensor in one.items()} for one in members]
        save_bundle(str(uri), ensemble_weights(members), StudentCard, filters=(4, 8, 8), members=2, image_size=32)
        return str(uri)

    return save


@pytest.fixture(scope="session")
def student(save_student, tmp_path_factory):
    """URI of a student that no test may change."""
    return save_student(tmp_path_factory.mktemp("student"))
