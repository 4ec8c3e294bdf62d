"""A tiny SAM of random weights does what segment_anything's own predictor does with it."""

import hashlib
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry

from cxr_ray.errors import BundleError, ConfigError
from cxr_ray.models.sam import SAM_CONFIGS, Sam, SamConfig, build_sam, config_of, load_sam, sam_type

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
    """No parameter at its initial value: many are 0 or 1, where a mix-up would not show."""
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


def test_nothing_is_encoded_to_nothing(sam):
    assert sam.encode([]).shape == (0, 32, 16, 16)


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_embeddings_are_those_of_the_predictor(model, images, embeddings, index):
    expected = predictor_of(model, images[index]).get_image_embedding()[0]
    # in one pixel of a thousand a resized value lies so near to a half that Pillow, in integers, rounds it the other way
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
    """Mask and IoU of one prompt; of three candidates those that the predictor believes in most."""
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


def test_prompts_of_one_image_do_not_touch_each_other(sam, embeddings):
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
        ({}, "a prompt is a box or points; got neither"),
        ({"boxes": np.zeros(4)}, r"boxes must be \[n, 4\]; got \[4\]"),
        ({"points": np.zeros((3, 2))}, r"points must be \[n, k, 2\]; got \[3, 2\]"),
        ({"boxes": np.zeros((1, 4)), "points": np.zeros((2, 5, 2))}, "of the same prompts; got 1 and 2"),
        ({"points": np.zeros((2, 5, 2)), "point_labels": np.zeros(5)}, r"point_labels must be \[2, 5\].*; got \[5\]"),
    ],
)
def test_prompts_that_do_not_fit_are_named(sam, embeddings, prompts, message):
    with pytest.raises(ValueError, match=message):
        sam.decode(embeddings[0], SIZES[0], **prompts)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), np.zeros((0, 4), np.uint8)])
def test_what_is_no_grey_image_is_refused(sam, image):
    with pytest.raises(ValueError, match=r"an image must be uint8 \[H, W\]; got"):
        sam.encode([image])


def test_a_strip_too_thin_for_a_pixel_is_encoded_and_decoded(sam):
    image = np.full((1, 600), 128, np.uint8)
    found = sam.decode(sam.encode([image])[0], image.shape, boxes=np.array([[0, 0, 600, 1]]))
    assert found.masks.shape == (1, 1, 600)


@pytest.mark.parametrize("name", SAM_CONFIGS)
def test_published_sams_are_built_and_known_by_their_shapes(name):
    with torch.device("meta"):
        ours, theirs = build_sam(SAM_CONFIGS[name]).state_dict(), sam_model_registry[name]().state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: t.shape for key, t in theirs.items()}
    assert config_of(theirs) == SAM_CONFIGS[name]
    assert sam_type(config_of(theirs)) == f"sam_{name}"


@pytest.fixture(scope="module")
def state(model):
    return model.state_dict()


@pytest.fixture
def weights_uri(state, tmp_path):
    save_file(state, tmp_path / "sam.safetensors")
    return str(tmp_path / "sam.safetensors")


@pytest.mark.parametrize("writer", ["safetensors", "pth"])
def test_weights_come_back(sam, state, images, tmp_path, writer):
    path = tmp_path / f"sam.{writer}"
    if writer == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_sam(str(path), sha256=sha256, device="cpu", precision="fp32")
    assert loaded.model_id == f"sam-{sha256[:12]}"
    assert loaded.image_size == 256
    torch.testing.assert_close(loaded.encode(images[:1]), sam.encode(images[:1]), rtol=0, atol=0)
    prompt = {"boxes": boxes_in(*SIZES[0])}
    expected = sam.decode(sam.encode(images[:1])[0], SIZES[0], **prompt)
    found = loaded.decode(loaded.encode(images[:1])[0], SIZES[0], **prompt)
    np.testing.assert_array_equal(found.masks, expected.masks)


def test_half_precision_weights_are_read_as_fp32(state, tmp_path):
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "half.pth")
    loaded = load_sam(str(tmp_path / "half.pth"), device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


class Evil:
    """Runs code when unpickled the careless way."""

    def __reduce__(self):
        return (print, ("executed",))


def refused(uri, message, **arguments):
    with pytest.raises(BundleError, match=message) as caught:
        load_sam(uri, device="cpu", **arguments)
    assert "\n" not in str(caught.value)
    assert uri in str(caught.value)


def test_pickled_code_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"image_encoder.pos_embed": Evil()}, tmp_path / "evil.pth")
    refused(str(tmp_path / "evil.pth"), "read without running code from it; name a safetensors file")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x10\0\0\0\0\0\0\0{broken header!!"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "damaged").write_bytes(content)
    refused(str(tmp_path / "damaged"), "holds no weights that can be read")


@pytest.mark.parametrize("kept", [100, 5_000, -100])
def test_cut_files_are_refused(weights_uri, state, tmp_path, kept):
    torch.save(state, tmp_path / "whole.pth")
    for path in (tmp_path / "whole.pth", tmp_path / "sam.safetensors"):
        cut = path.with_name(f"cut_{path.name}")
        cut.write_bytes(path.read_bytes()[:kept])
        refused(str(cut), "holds no weights that can be read")


def test_a_missing_file_is_named(tmp_path):
    refused(str(tmp_path / "none.pth"), "no SAM weights: cannot read .*none.pth.*check the URI")


def test_another_sha256_is_refused(weights_uri):
    refused(weights_uri, f"its sha256 is [0-9a-f]{{64}}, not {'0' * 64}; fetch it again", sha256="0" * 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"a": torch.zeros(3)}, r"holds no SAM: image_encoder\.pos_embed is missing; name weights"),
        (
            lambda state: {name: value for name, value in state.items() if "iou_token" not in name},
            r'holds no SAM: Missing key\(s\) in state_dict: "mask_decoder\.iou_token\.weight"',
        ),
        (lambda state: state | {"mask_decoder.hf_token.weight": torch.zeros(3)}, r"Unexpected key.*hf_token"),
        (lambda state: state | {"image_encoder.neck.0.weight": torch.zeros(3)}, r"size mismatch.*neck\.0\.weight"),
        (
            lambda state: {name: value for name, value in state.items() if "blocks.0." not in name},
            r"blocks\.0\.attn\.rel_pos_h is missing",
        ),
        (lambda state: state | {"image_encoder.pos_embed": torch.zeros(1, 9)}, r"pos_embed is \[1, 9\], not \[1, G"),
    ],
)
def test_what_is_no_sam_is_refused(state, tmp_path, change, message):
    torch.save(change(dict(state)), tmp_path / "other.pth")
    refused(str(tmp_path / "other.pth"), message)


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    refused(str(tmp_path / "list.pth"), "holds no state dict but list")


def test_another_type_than_the_one_named_is_refused(weights_uri):
    refused(weights_uri, "holds no sam_vit_b but sam of width 32 and 2 blocks", model_type="vit_b")


def test_a_type_that_there_is_not_is_named(weights_uri):
    with pytest.raises(ConfigError, match=re.escape("no SAM of type 'vit_g'; choose one of vit_b, vit_l, vit_h")):
        load_sam(weights_uri, "vit_g")
