import hashlib
import json
from pathlib import Path

import pytest
import torch

from cxr_ray.errors import BundleError
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig, PromptTokenizer
from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer
from cxr_ray.models.bundle import read_card
from cxr_ray.models.clip_card import ClipCard, save_clip_bundle

TINY = BiomedClipConfig(
    vision_hidden=32, vision_layers=1, vision_heads=2, vision_mlp=32, image_size=32, text_hidden=32, text_layers=1,
    text_heads=2, text_mlp=32, vocab_size=8, text_positions=16, context=16, projection=16, text_projection_hidden=16,
)  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lung"]


@pytest.fixture
def saved(tmp_path):
    """URI of a bundle, its model and its card."""
    torch.manual_seed(0)
    model, uri = BiomedClip(TINY), str(tmp_path / "bundle")
    card = save_clip_bundle(
        uri, model, PromptTokenizer(WORDS), metrics={"epoch": 3}, dataset_fingerprint="f", labels=("a",)
    )
    return uri, model, card


def test_a_bundle_is_read_back_by_its_card_and_by_the_loader(saved):
    uri, model, card = saved
    assert read_card(uri, ClipCard) == card
    assert (card.kind, card.labels, card.image_size, card.interpolation) == ("clip", ("a",), 32, "bicubic")
    assert (card.metrics, card.dataset_fingerprint) == ({"epoch": 3}, "f")
    assert hashlib.sha256(Path(uri, "model.safetensors").read_bytes()).hexdigest() == card.weights_sha256
    assert card.model_id == f"biomedclip-{card.weights_sha256[:12]}"
    loaded = load_biomedclip(uri)
    assert loaded.config == TINY
    for name, tensor in model.state_dict().items():
        assert tensor.equal(loaded.state_dict()[name])
    assert load_tokenizer(uri, TINY).vocabulary == tuple(WORDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "classifier"}, "is a bundle of kind 'classifier'; a 'clip' is needed here"),
        ({"weights_sha256": "x"}, r"model\.json: weights_sha256: string should match"),
        ({"image_size": 0}, r"model\.json: image_size: input should be greater"),
    ],
)
def test_a_card_of_something_else_is_refused(saved, change, message):
    path = Path(saved[0], "model.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match=message):
        read_card(saved[0], ClipCard)


def test_a_folder_without_a_card_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=f"no model bundle at {tmp_path}"):
        read_card(str(tmp_path), ClipCard)
