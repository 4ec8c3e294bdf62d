"""BiomedCLIP: both encoders, the split of the image encoder at a block, and the preparation of pixels and prompts."""

import numpy as np
import pytest
import torch

from cxr_ray.errors import BundleError, ConfigError
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig, PromptTokenizer, clip_input

TINY = BiomedClipConfig(
    vision_hidden=64,
    vision_layers=4,
    vision_heads=2,
    vision_mlp=96,
    image_size=48,
    patch_size=16,
    text_hidden=64,
    text_layers=2,
    text_heads=2,
    text_mlp=96,
    vocab_size=40,
    text_positions=24,
    context=16,
    projection=32,
    text_projection_hidden=48,
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "lung", "##s", "of", "a", "chest", "x", "-", "ray"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = BiomedClip(TINY).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases at their initial values would hide a mix-up
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def by_transformers(model, pixels):
    """Image features as ViTModel computes them, with every token of the last block."""
    first = model.vision(pixel_values=pixels).last_hidden_state[:, 0]
    features = model.vision_projection(first)
    return features / features.norm(dim=-1, keepdim=True)


def test_image_features_are_those_of_the_whole_encoder(model, pixels):
    with torch.no_grad():
        features = model.encode_image(pixels)
        torch.testing.assert_close(features, by_transformers(model, pixels))
    assert features.shape == (3, 32)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("layer", [-1, 0, 1, 2, 3])
def test_splits_after_any_block(layer, model, pixels):
    with torch.no_grad():
        hidden = model.blocks_until(pixels, layer)
        assert hidden.shape == (3, 10, 64)
        torch.testing.assert_close(model.blocks_after(hidden, layer), by_transformers(model, pixels))


def test_gradients_are_those_of_the_whole_encoder(model, pixels):
    weights = dict(model.vision.named_parameters())
    target = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    ours, theirs = (
        torch.autograd.grad((features * target).sum(), list(weights.values()))
        for features in (model.encode_image(pixels), by_transformers(model, pixels))
    )
    for name, mine, other in zip(weights, ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_text_features_do_not_see_the_padding(model):
    prompts = torch.tensor([[2, 5, 6, 3], [2, 8, 3, 0]])
    with torch.no_grad():
        features = model.encode_text(prompts)
        longer = model.encode_text(torch.nn.functional.pad(prompts, (0, 6)))
        alone = model.encode_text(prompts[1:, :3])
    torch.testing.assert_close(features, longer)
    torch.testing.assert_close(features[1:], alone)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2))
    assert (features[0] - features[1]).abs().max() > 0.01


def test_features_are_fp32_under_autocast(model, pixels):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.encode_image(pixels), model.encode_text(torch.tensor([[2, 5, 3]]))
    for feature in features:
        assert feature.dtype == torch.float32
        torch.testing.assert_close(feature.norm(dim=-1), torch.ones(len(feature)))


def test_more_tokens_than_the_context_are_refused(model):
    with pytest.raises(ValueError, match="<= 16 tokens; got 17"):
        model.encode_text(torch.ones(1, 17, dtype=torch.int64))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vision_layers": 0}, "vision_layers must be >= 1; got 0"),
        ({"image_size": 225}, "image_size must be a multiple of patch_size 16; got 225"),
        ({"vision_heads": 7}, "vision_heads must be a divisor of vision_hidden 768; got 7"),
        ({"text_heads": 7}, "text_heads must be a divisor of text_hidden 768; got 7"),
        ({"context": 513}, "context must be <= text_positions 512; got 513"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(sizes, message):
    with pytest.raises(ConfigError, match=message):
        BiomedClipConfig(**sizes)


def test_pixels_are_normalised_as_clip_does():
    pixels = np.arange(2 * 48 * 48, dtype=np.uint32).reshape(2, 48, 48).astype(np.uint8)
    inputs = clip_input(torch.device("cpu"))(pixels)
    assert inputs.shape == (2, 3, 48, 48)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = np.stack([(pixels / 255 - m) / s for m, s in zip(mean, std, strict=True)], axis=1)
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-5)


def test_prompts_become_word_pieces_padded_to_the_longest():
    ids = PromptTokenizer(WORDS).tokenise(["Left LUNGS", "a chest X-ray", "pneumo"])
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[2, 5, 6, 7, 3, 0, 0], [2, 9, 10, 11, 12, 13, 3], [2, 1, 3, 0, 0, 0, 0]]


def test_a_prompt_longer_than_the_context_is_cut_and_keeps_its_end_token():
    ids = PromptTokenizer(WORDS, context=6).tokenise(["lung " * 20])
    assert ids.tolist() == [[2, 6, 6, 6, 6, 3]]


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (["[PAD]", "[UNK]", "lung"], r"it lacks \[CLS\], \[SEP\], \[MASK\]"),
        ([*WORDS[1:], "[PAD]"], r"its first line is not \[PAD\]"),
    ],
)
def test_a_vocabulary_that_is_not_one_of_bert_is_refused(vocabulary, message):
    with pytest.raises(BundleError, match=message):
        PromptTokenizer(vocabulary)


def test_no_prompt_is_refused():
    with pytest.raises(ValueError, match="at least one sentence; got none"):
        PromptTokenizer(WORDS).tokenise([])
