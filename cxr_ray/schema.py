"""Names of columns and labels, and the Arrow schemas of the tables that jobs write."""

from collections.abc import Callable, Iterable

import pyarrow as pa

LABELS = ("COVID", "Lung_Opacity", "Normal", "Viral_Pneumonia")
FINDING_PREFIX = "label_"
SPLITS = ("train", "val", "test")
TIMESTAMP = pa.timestamp("us", tz="UTC")

MANIFEST = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        ("size_bytes", pa.int64()),
        ("modified", TIMESTAMP),
        ("etag", pa.string()),
        ("format", pa.string()),
    ]
)

DATASET = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        ("label", pa.string()),
        ("patient_id", pa.string()),
        ("split", pa.string()),
        ("mask_uri", pa.string()),
        ("content_sha256", pa.string()),
        ("duplicate_group", pa.string()),
    ]
)

PRESENT, ABSENT, UNCERTAIN = 1, 0, -1
"""Values of the column of a finding, in datasets and predictions; null if nothing is known. Predictions are never uncertain."""

IMAGE_FIELDS = [
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("error_kind", pa.string()),
    pa.field("error", pa.string()),
    pa.field("format", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("content_sha256", pa.string()),
]

PREDICTION_FIELDS: list[pa.Field] = []
"""Columns that exist only in `OUTPUT/predictions/`; loading or classifying an image fills them."""

MASK_FIELDS = [
    pa.field("mask_height", pa.int32()),
    pa.field("mask_width", pa.int32()),
    pa.field("mask_counts", pa.string()),
    pa.field("area_fraction", pa.float32()),
    pa.field("boxes_xyxy", pa.list_(pa.list_(pa.float32()))),
    pa.field("iou_prediction", pa.float32()),
    pa.field("uncertainty", pa.float32()),
    pa.field("prompt", pa.string()),
]
"""Columns of a mask: COCO run lengths at the size of the displayed image, boxes in its pixels; null if the image failed."""

LUNG_FIELDS = [
    *(
        pa.field(f"{side}_{name}", pa.float32())
        for side in ("right", "left")
        for name in ("area_fraction", "centroid_x", "centroid_y", "uncertainty")
    ),
    pa.field("symmetry", pa.float32()),
]
"""Columns of each lung, which segmenters fill; `right` is the patient's right, the left side of the image.

Areas are fractions of the image, centroids are in pixels of the image.
"""

PROVENANCE_FIELDS = [
    pa.field("model_id", pa.string(), nullable=False),
    pa.field("preprocessing_id", pa.string(), nullable=False),
    pa.field("run_id", pa.string(), nullable=False),
    pa.field("scored_at", TIMESTAMP, nullable=False),
    pa.field("device", pa.string()),
    pa.field("engine", pa.string()),
    pa.field("precision", pa.string()),
]

DICOM_FIELDS = [
    pa.field("modality", pa.string()),
    pa.field("view_position", pa.string()),
    pa.field("study_uid", pa.string()),
    pa.field("series_uid", pa.string()),
    pa.field("sop_uid", pa.string()),
    pa.field("patient_key", pa.string()),
]

QUALITY_FIELDS = [pa.field("qc_flags", pa.list_(pa.string()))]
"""Columns of the quality of an image: those flags of `config.quality.QC_FLAGS` that apply; null if the image failed."""

MASKS = pa.schema([*IMAGE_FIELDS, *MASK_FIELDS, *LUNG_FIELDS, *PROVENANCE_FIELDS, *DICOM_FIELDS, *QUALITY_FIELDS])
"""Schema of `OUTPUT/masks/`; `status` is `ok`, `empty` if nothing was found, or `error`."""


MAP_COLUMN = "map_shades"
"""Column of the map of a row of masks that is not finished: its `status` is not the last one yet, and no output holds it."""


CASCADE_FIELDS = [
    pa.field("mask_status", pa.string()),
    pa.field("mask_model_id", pa.string()),
    pa.field("mask_preprocessing_id", pa.string()),
    pa.field("mask_engine", pa.string()),
]
"""Columns that the cascade adds to a prediction: how the mask ended, and the model, preprocessing and engine that made it.

`mask_status` is `ok`, `empty`, `error`, or `skipped` if the rule of the cascade asks for no mask.
"""


def probability_column(label: str) -> str:
    """Name of the column that holds the probability of `label`; `prob_viral_pneumonia` for `Viral Pneumonia`."""
    return "prob_" + finding_name(label)


def finding_name(label: str) -> str:
    """Spelling of a label in the names of columns: `pleural_effusion` for `Pleural Effusion`."""
    return label.strip().lower().replace(" ", "_").replace("-", "_")


def finding_column(label: str) -> str:
    """Name of the column that says whether a finding is present: `label_pleural_effusion` for `Pleural Effusion`."""
    return FINDING_PREFIX + finding_name(label)


def finding_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Columns of findings among the columns of a dataset or of predictions, in their order."""
    return tuple(name for name in names if name.startswith(FINDING_PREFIX))


def findings_dataset_schema(findings: Iterable[str]) -> pa.Schema:
    """Schema of a dataset of findings: `DATASET`, whose `label` is null, and a column of each finding.

    Args:
        findings: names of the findings.
    """
    return pa.schema([*DATASET, *(pa.field(finding_column(finding), pa.int8()) for finding in findings)])


def score_fields(labels: tuple[str, ...], prefix: str = "") -> list[pa.Field]:
    """Columns that one classifier fills, each with `prefix` before its name; null if the image failed.

    Args:
        labels: class names, in the order of the model's outputs.
        prefix: such as `resnet50_`, where several models score together.
    """
    names = ["confidence", "entropy", *map(probability_column, labels)]
    return [pa.field(f"{prefix}label", pa.string())] + [pa.field(prefix + n, pa.float32()) for n in names]


def finding_fields(labels: tuple[str, ...], prefix: str = "") -> list[pa.Field]:
    """Columns that one classifier of findings fills, each with `prefix` before its name; null if the image failed.

    They are the probability of each finding, and then for each whether it is called present.

    Args:
        labels: names of the findings, in the order of the model's outputs.
        prefix: such as `resnet50_`, where several models score together.
    """
    probabilities = [pa.field(prefix + probability_column(label), pa.float32()) for label in labels]
    return probabilities + [pa.field(prefix + finding_column(label), pa.int8()) for label in labels]


FieldsOfScores = Callable[[tuple[str, ...], str], list[pa.Field]]
"""Function of the labels and the prefix of a classifier that returns its columns: `score_fields` or `finding_fields`."""


def predictions_schema(
    labels: tuple[str, ...], model_prefixes: tuple[str, ...] = (), fields_of: FieldsOfScores = score_fields
) -> pa.Schema:
    """Schema of `OUTPUT/predictions/`.

    Args:
        labels: class names, in the order of the model's outputs.
        model_prefixes: one prefix per model, such as `resnet50_`, if several models score together; the columns without
            a prefix then hold the mean of their probabilities.
        fields_of: columns of a classifier, which depend on its task.
    """
    return pa.schema([*_classified_fields(labels, model_prefixes, fields_of), *PREDICTION_FIELDS])


EMBEDDING_COLUMN = "embedding"
LAYER_COLUMN = "layer"
"""Column of the layer of the encoder from which an embedding was read: `pooled`, `cls` or the name of a module."""


def embedding_column(prefix: str = "") -> str:
    """Name of the column of the embeddings of one encoder: `embedding`, or `embedding_resnet50` for the prefix `resnet50_`."""
    return f"{EMBEDDING_COLUMN}_{prefix}".rstrip("_")


def embeddings_schema(sizes: tuple[int, ...], model_prefixes: tuple[str, ...] = ()) -> pa.Schema:
    """Schema of `OUTPUT/embeddings/`; an embedding is a list of fixed size of float16, and null if the image failed.

    Args:
        sizes: number of features of each encoder.
        model_prefixes: one prefix per encoder, such as `resnet50_`, if several embed together; each then has a column
            `embedding_resnet50` and a column `resnet50_model_id`.
    """
    prefixes = model_prefixes or ("",)
    vectors = [
        pa.field(embedding_column(prefix), pa.list_(pa.float16(), size))
        for prefix, size in zip(prefixes, sizes, strict=True)
    ]
    ids = [pa.field(f"{prefix}model_id", pa.string()) for prefix in model_prefixes]
    layer = pa.field(LAYER_COLUMN, pa.string(), nullable=False)
    return pa.schema([*IMAGE_FIELDS, *vectors, layer, *PROVENANCE_FIELDS, *DICOM_FIELDS, *QUALITY_FIELDS, *ids])


def scores_schema(
    labels: tuple[str, ...], model_prefixes: tuple[str, ...] = (), fields_of: FieldsOfScores = score_fields
) -> pa.Schema:
    """Schema of `OUTPUT/scores/`, which the cascade writes; each row holds a prediction and then a mask.

    Args:
        labels: class names, in the order of the model's outputs.
        model_prefixes: one prefix per model, as in `predictions_schema`; empty for a single model.
        fields_of: columns of a classifier, as in `predictions_schema`.
    """
    classified = _classified_fields(labels, model_prefixes, fields_of)
    return pa.schema([*classified, *CASCADE_FIELDS, *MASK_FIELDS, *LUNG_FIELDS])


def _classified_fields(
    labels: tuple[str, ...], model_prefixes: tuple[str, ...], fields_of: FieldsOfScores
) -> list[pa.Field]:
    """Columns of an image that one or several classifiers scored."""
    per_model = [
        field
        for prefix in model_prefixes
        for field in [*fields_of(labels, prefix), pa.field(f"{prefix}model_id", pa.string())]
    ]
    head = [*IMAGE_FIELDS, *fields_of(labels, ""), *PROVENANCE_FIELDS, *DICOM_FIELDS, *QUALITY_FIELDS]
    return [*head, *per_model]


def loaded_schema() -> pa.Schema:
    """Schema of a loaded image: the columns that loading fills for any table; the stages keep those of their own table."""
    return pa.schema([*IMAGE_FIELDS, *DICOM_FIELDS, *QUALITY_FIELDS, *PREDICTION_FIELDS])


NOT_FINITE = {"status": "error", "error_kind": "not_finite", "error": "a model's output is not a finite number"}
"""Values of a row whose model gave NaN or infinity, which would otherwise look like the first class or an empty mask."""
TOO_LARGE_FOR_FLOAT16 = NOT_FINITE | {"error": "a feature is beyond 65,504, the largest number of float16"}
"""Values of a row with a feature that an embedding cannot hold."""
