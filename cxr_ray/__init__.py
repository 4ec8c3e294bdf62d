"""Inference and training for chest X-ray archives: from one radiograph in a notebook to millions on a Ray cluster.

The names in `__all__` are the stable interface; everything else in the package may change with any version. Importing
the package loads nothing heavy: a name is loaded when it is first used, and Ray is loaded when a job starts.

    from cxr_ray import Classifier, load_image

    image = load_image("radiograph.png")
    print(Classifier("models/classifier").classify(image).label)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_ray.archive.embeddings import Embeddings, read_embeddings
    from cxr_ray.config import ClassifyConfig, EmbedConfig, SegmentConfig, TrainClassifierConfig
    from cxr_ray.errors import CxrRayError
    from cxr_ray.imaging.radiograph import Radiograph, load_image
    from cxr_ray.models.bundle import ModelCard
    from cxr_ray.models.classifier import Classifier, FindingPrediction, Prediction
    from cxr_ray.models.lung_segmentation import LungSegmentation
    from cxr_ray.models.segmenter import Segmenter

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "ClassifyConfig",
    "CxrRayError",
    "EmbedConfig",
    "Embeddings",
    "FindingPrediction",
    "LungSegmentation",
    "Prediction",
    "Radiograph",
    "SegmentConfig",
    "Segmenter",
    "TrainClassifierConfig",
    "classify_archive",
    "embed_archive",
    "load_image",
    "read_embeddings",
    "segment_archive",
    "train_classifier",
]

_HOMES = {
    "Classifier": "cxr_ray.models.classifier",
    "ClassifyConfig": "cxr_ray.config",
    "CxrRayError": "cxr_ray.errors",
    "EmbedConfig": "cxr_ray.config",
    "Embeddings": "cxr_ray.archive.embeddings",
    "FindingPrediction": "cxr_ray.models.classifier",
    "LungSegmentation": "cxr_ray.models.lung_segmentation",
    "Prediction": "cxr_ray.models.classifier",
    "Radiograph": "cxr_ray.imaging.radiograph",
    "SegmentConfig": "cxr_ray.config",
    "Segmenter": "cxr_ray.models.segmenter",
    "TrainClassifierConfig": "cxr_ray.config",
    "load_image": "cxr_ray.imaging.radiograph",
    "read_embeddings": "cxr_ray.archive.embeddings",
}
"""Module of each public name that is loaded when it is first used."""


def classify_archive(config: "ClassifyConfig") -> dict[str, int]:
    """Classify every image of an archive; each image gets one row in Parquet, broken files included.

    The job joins the Ray cluster that `RAY_ADDRESS` names, or starts one on this machine. The same config on the same
    output resumes: finished rows are neither downloaded nor scored again. This function is stable.

    Args:
        config: `ClassifyConfig(input_uri="radiographs/", model_uri=("models/classifier",), output_uri="scored/")`; its
            other fields are the options of `jobs/classify_archive.py`.

    Returns:
        The number of rows by status, such as `{"ok": 990, "error": 10}`.

    Raises:
        CxrRayError: if a bundle is missing, the output holds other work, or too many images are errors (`GateError`; all
            rows are kept).
    """
    from cxr_ray.scoring.classify_archive import classify_archive as job

    return job(config)


def embed_archive(config: "EmbedConfig") -> dict[str, int]:
    """Compute the embedding of every image of an archive; each image gets one row in Parquet, broken files included.

    The job joins the Ray cluster that `RAY_ADDRESS` names, or starts one on this machine. The same config on the same
    output resumes: finished rows are neither downloaded nor embedded again. `read_embeddings` reads the rows into NumPy.
    This function is stable.

    Args:
        config: `EmbedConfig(input_uri="radiographs/", model_uri=("models/encoder",), output_uri="embedded/")`; its other
            fields are the options of `jobs/embed_archive.py`.

    Returns:
        The number of rows by status, such as `{"ok": 990, "error": 10}`.

    Raises:
        CxrRayError: if a bundle is missing, the output holds other work, or too many images are errors (`GateError`; all
            rows are kept).
    """
    from cxr_ray.scoring.embed_archive import embed_archive as job

    return job(config)


def segment_archive(config: "SegmentConfig") -> dict[str, int]:
    """Segment every image of an archive; each image gets one row in Parquet, broken files included.

    The job joins the Ray cluster that `RAY_ADDRESS` names, or starts one on this machine. The same config on the same
    output resumes: finished rows are neither downloaded nor segmented again. This function is stable.

    Args:
        config: `SegmentConfig(input_uri="radiographs/", model_uri="models/segmenter", output_uri="masks/")`; its other
            fields are the options of `jobs/segment_archive.py`.

    Returns:
        The number of rows by status, such as `{"ok": 980, "empty": 10, "error": 10}`.

    Raises:
        CxrRayError: if weights are missing, the output holds other work, or too many images are errors (`GateError`; all
            rows are kept).
    """
    from cxr_ray.scoring.segment_archive import segment_archive as job

    return job(config)


def train_classifier(config: "TrainClassifierConfig") -> "ModelCard":
    """Train a classifier on the train split of a dataset, choose the best epoch on its val split, and write a model bundle.

    The training joins the Ray cluster that `RAY_ADDRESS` names, or starts one on this machine. The same config on the
    same output resumes after the last epoch that was finished there. This function is stable.

    Args:
        config: `TrainClassifierConfig(dataset_uri="dataset.parquet", output_uri="models/mine", backbone="resnet50")`;
            its other fields are the options of `jobs/train_classifier.py`.

    Returns:
        The card of the bundle: its labels, metrics and the hash of its weights.

    Raises:
        CxrRayError: if the dataset cannot be trained on, the output holds other work, or the training fails.
    """
    from cxr_ray.training.classifier.train_classifier import train_classifier as job

    return job(config)


def __getattr__(name: str) -> object:
    """Load a public name when it is first used.

    Raises:
        AttributeError: if `name` is not public; the message lists the public names.
    """
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'cxr_ray' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All names of this module, including public names that are not loaded yet."""
    return sorted({*globals(), *__all__})
