"""A tiny SAM with random weights gives the same masks as the predictor of segment_anything."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from cxr_ray.models.sam import Sam, SamConfig, build_sam

TINY = SamConfig(
    encoder_depth=2,
    encoder_embed_dim=32,
    encoder_num_heads=2,
    encoder_global_attn_indexes=(1,),
    prompt_embed_dim=32,
    image_size=256,
)
SIZES = [(180, 240), (256, 256), (400, 300), (97, 256), (31, 700)]


@pytest.fixture(scope="module")
def model():
    """A SAM with parameters away from their initial 0 or 1, at which a mix-up would not show."""
    torch.manual_seed(0)
    model = build_sam(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def sam(model):
    return Sam(model, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(2)
    images = []
    for height, width in SIZES:
        y, x = np.mgrid[0:height, 0:width]
        wave = np.sin(y / rng.uniform(8, 40)) * np.cos(x / rng.uniform(8, 40))
        images.append(np.rint(127 + 100 * wave + rng.normal(0, 5, wave.shape)).clip(0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="module")
def embeddings(sam, images):
    return sam.encode(images)


def predictor_of(model, image):
    predictor = SamPredictor(model)
    predictor.set_image(np.repeat(image[..., None], 3, axis=2))
    return predictor


def boxes_in(height, width):
    return np.array([[0.1, 0.2, 0.5, 0.9], [0.45, 0.1, 0.95, 0.7], [0, 0, 1, 1]]) * [width, height, width, height]


def points_in(height, width):
    return np.array([[[0.3, 0.4], [0.8, 0.2]], [[0.6, 0.7], [0.1, 0.9]]]) * [width, height]


def test_a_batch_is_encoded_as_one_by_one(sam, images, embeddings):
    assert embeddings.shape == (len(SIZES), 32, 16, 16)
    assert embeddings.dtype == torch.float32
    alone = torch.cat([sam.encode([image]) for image in images])
    torch.testing.assert_close(embeddings, alone, rtol=1e-4, atol=1e-4)
    assert (embeddings[0] - embeddings[1]).abs().max() > 0.1


def test_an_empty_batch_has_no_embeddings(sam):
    assert sam.encode([]).shape == (0, 32, 16, 16)


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_embeddings_are_those_of_the_predictor(model, images, embeddings, index):
    expected = predictor_of(model, images[index]).get_image_embedding()[0]
    # Pillow resizes in integers: in one pixel of a thousand it rounds a value near one half the other way
    atol = 1e-4 if max(SIZES[index]) == TINY.image_size else 0.02
    torch.testing.assert_close(embeddings[index], expected, rtol=1e-4, atol=atol)
    assert (embeddings[index] - expected).abs().mean() < 2e-3


def assert_same_masks(found, expected, ious, *, exact):
    assert found.masks.dtype == np.bool_
    assert found.iou_prediction.dtype == np.float32
    assert found.masks.shape == expected.shape
    assert 0.01 < expected.mean() < 0.99
    assert (found.masks != expected).mean() < (1e-4 if exact else 5e-3)
    np.testing.assert_allclose(found.iou_prediction, ious, atol=1e-4 if exact else 1e-2)


def predicted(predictor, *, multimask, **prompt):
    """Mask and IoU of one prompt; of three candidates, the one with the highest predicted IoU."""
    masks, ious, _ = predictor.predict(multimask_output=multimask, **prompt)
    best = int(np.argmax(ious))
    return masks[best], ious[best]


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("prompts", ["boxes", "points", "both"])
@pytest.mark.parametrize("index", range(len(SIZES)))
def test_masks_are_those_of_the_predictor(sam, model, images, embeddings, index, prompts, multimask):
    size = SIZES[index]
    boxes, points = boxes_in(*size)[:2], points_in(*size)
    labels = np.array([[1, 0], [1, 1]])
    given, singly = {}, [{}, {}]
    if prompts != "points":
        given |= {"boxes": boxes}
        singly = [one | {"box": box} for one, box in zip(singly, boxes, strict=True)]
    if prompts != "boxes":
        given |= {"points": points, "point_labels": labels}
        singly = [
            one | {"point_coords": xy, "point_labels": label}
            for one, xy, label in zip(singly, points, labels, strict=True)
        ]
    found = sam.decode(embeddings[index], size, multimask=multimask, **given)
    predictor = predictor_of(model, images[index])
    masks, ious = zip(*(predicted(predictor, multimask=multimask, **prompt) for prompt in singly), strict=True)
    assert_same_masks(found, np.stack(masks), ious, exact=max(size) == TINY.image_size)


def test_prompts_of_one_image_do_not_affect_each_other(sam, embeddings):
    boxes = boxes_in(*SIZES[0])
    together = sam.decode(embeddings[0], SIZES[0], boxes=boxes)
    assert together.masks.shape == (3, *SIZES[0])
    for index in range(3):
        alone = sam.decode(embeddings[0], SIZES[0], boxes=boxes[index : index + 1])
        assert (alone.masks[0] != together.masks[index]).mean() < 1e-4
        assert alone.iou_prediction[0] == pytest.approx(together.iou_prediction[index], abs=1e-4)
    np.testing.assert_array_equal(together.union, together.masks[0] | together.masks[1] | together.masks[2])


def test_points_without_labels_lie_on_the_object(sam, embeddings):
    points = points_in(*SIZES[0])
    implied = sam.decode(embeddings[0], SIZES[0], points=points)
    said = sam.decode(embeddings[0], SIZES[0], points=points, point_labels=np.ones((2, 2), int))
    np.testing.assert_array_equal(implied.masks, said.masks)


@pytest.mark.parametrize("prompts", [{"boxes": np.zeros((0, 4))}, {"points": np.zeros((0, 10, 2))}])
def test_no_prompt_gives_no_mask(sam, embeddings, prompts):
    found = sam.decode(embeddings[0], SIZES[0], **prompts)
    assert found.masks.shape == (0, *SIZES[0])
    assert found.iou_prediction.shape == (0,)
    assert found.union.shape == SIZES[0]
    assert not found.union.any()


def test_bf16_encodes_nearly_the_same(sam, model, images, embeddings):
    rough = Sam(model, device="cpu", precision="bf16").encode(images)
    assert rough.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(rough.flatten(1), embeddings.flatten(1))
    assert cosine.min() > 0.99
    assert (rough != embeddings).any()


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "a prompt needs a box or points; got neither"),
        ({"boxes": np.zeros(4)}, r"boxes must be \[n, 4\]; got \[4\]"),
        ({"points": np.zeros((3, 2))}, r"points must be \[n, k, 2\]; got \[3, 2\]"),
        (
            {"boxes": np.zeros((1, 4)), "points": np.zeros((2, 5, 2))},
            "belong to the same prompts; got 1 boxes for 2 sets of points",
        ),
        ({"points": np.zeros((2, 5, 2)), "point_labels": np.zeros(5)}, r"point_labels must be \[2, 5\].*; got \[5\]"),
    ],
)
def test_prompts_that_do_not_fit_are_named(sam, embeddings, prompts, message):
    with pytest.raises(ValueError, match=message):
        sam.decode(embeddings[0], SIZES[0], **prompts)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), np.zeros((0, 4), np.uint8)])
def test_an_array_that_is_not_a_grey_image_is_refused(sam, image):
    with pytest.raises(ValueError, match=r"an image must be uint8 \[H, W\]; got"):
        sam.encode([image])


def test_a_strip_too_thin_for_a_pixel_is_encoded_and_decoded(sam):
    image = np.full((1, 600), 128, np.uint8)
    found = sam.decode(sam.encode([image])[0], image.shape, boxes=np.array([[0, 0, 600, 1]]))
    assert found.masks.shape == (1, 1, 600)
