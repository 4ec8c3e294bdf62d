import pyarrow as pa
import pytest

from cxr_ray.schema import (
    LABELS,
    MASKS,
    embeddings_schema,
    finding_columns,
    finding_fields,
    predictions_schema,
    probability_column,
    score_fields,
    scores_schema,
)

HEAD = ["image_id", "uri", "status", "error_kind", "error", "format", "width", "height", "content_sha256"]
SCORES = ["label", "confidence", "entropy", "prob_covid", "prob_lung_opacity", "prob_normal", "prob_viral_pneumonia"]
PROVENANCE = ["model_id", "preprocessing_id", "run_id", "scored_at", "device", "engine", "precision"]
CASCADE = ["mask_status", "mask_model_id", "mask_preprocessing_id", "mask_engine"]
MASK = [
    "mask_height", "mask_width", "mask_counts", "area_fraction", "boxes_xyxy", "iou_prediction", "uncertainty", "prompt",
]  # fmt: skip
LUNG = [
    f"{side}_{name}"
    for side in ("right", "left")
    for name in ("area_fraction", "centroid_x", "centroid_y", "uncertainty")
] + ["symmetry"]
DICOM = ["modality", "view_position", "study_uid", "series_uid", "sop_uid", "patient_key"]
QUALITY = ["qc_flags"]


@pytest.mark.parametrize(
    ("label", "column"),
    [
        ("COVID", "prob_covid"),
        ("Viral Pneumonia", "prob_viral_pneumonia"),
        (" Viral-Pneumonia ", "prob_viral_pneumonia"),
    ],
)
def test_probability_column(label, column):
    assert probability_column(label) == column


def test_predictions_of_one_model():
    schema = predictions_schema(LABELS)
    assert schema.names == HEAD + SCORES + PROVENANCE + DICOM + QUALITY
    may_lack = {"device", "engine", "precision"}  # in rows of other programs
    assert {f.name for f in schema if not f.nullable} == {"image_id", "uri", "status", *PROVENANCE} - may_lack
    assert {str(schema.field(name).type) for name in SCORES[1:]} == {"float"}
    assert str(schema.field("scored_at").type) == "timestamp[us, tz=UTC]"


def test_predictions_of_several_models_end_with_a_set_of_columns_for_each():
    schema = predictions_schema(LABELS, ("vit_b16_", "resnet50_"))
    one = [f"vit_b16_{name}" for name in [*SCORES, "model_id"]]
    other = [f"resnet50_{name}" for name in [*SCORES, "model_id"]]
    assert schema.names == HEAD + SCORES + PROVENANCE + DICOM + QUALITY + one + other


def test_predictions_of_findings_have_a_probability_and_a_call_of_each_instead_of_a_label():
    schema = predictions_schema(("Edema", "Pleural Effusion"), ("resnet50_",), finding_fields)
    scores = ["prob_edema", "prob_pleural_effusion", "label_edema", "label_pleural_effusion"]
    of_model = [f"resnet50_{name}" for name in [*scores, "model_id"]]
    assert schema.names == HEAD + scores + PROVENANCE + DICOM + QUALITY + of_model
    assert [str(schema.field(name).type) for name in scores] == ["float", "float", "int8", "int8"]
    assert finding_columns(schema.names) == ("label_edema", "label_pleural_effusion")


def test_embeddings_of_one_encoder_and_of_several():
    one, two = embeddings_schema((4,)), embeddings_schema((4, 6), ("resnet50_", "resnet50_2_"))
    assert one.names == [*HEAD, "embedding", "layer", *PROVENANCE, *DICOM, *QUALITY]
    vectors, ids = ["embedding_resnet50", "embedding_resnet50_2"], ["resnet50_model_id", "resnet50_2_model_id"]
    assert two.names == [*HEAD, *vectors, "layer", *PROVENANCE, *DICOM, *QUALITY, *ids]
    assert [two.field(name).type for name in vectors] == [pa.list_(pa.float16(), 4), pa.list_(pa.float16(), 6)]


def test_masks_hold_what_is_theirs():
    assert MASKS.names == HEAD + MASK + LUNG + PROVENANCE + DICOM + QUALITY


def test_scores_of_the_cascade_are_a_prediction_and_its_mask():
    assert scores_schema(LABELS).names == HEAD + SCORES + PROVENANCE + DICOM + QUALITY + CASCADE + MASK + LUNG


def test_scores_follow_the_order_of_the_outputs():
    assert [f.name for f in score_fields(("b", "a"), "x_")] == [
        "x_label",
        "x_confidence",
        "x_entropy",
        "x_prob_b",
        "x_prob_a",
    ]
