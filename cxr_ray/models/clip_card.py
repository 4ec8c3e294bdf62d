"""The bundle of a fine-tuned BiomedCLIP: `model.safetensors`, `vocab.txt` and `model.json`."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cxr_ray.archive.uris import join_uri, read_bytes, write_bytes
from cxr_ray.models.bundle import CARD_NAME, WEIGHTS_NAME, ModelCard

if TYPE_CHECKING:
    from cxr_ray.models.biomedclip import BiomedClip, PromptTokenizer

KIND = "clip"


@dataclass(frozen=True, kw_only=True)
class ClipCard(ModelCard):
    """Content of `model.json` in the bundle of a BiomedCLIP; whole images are squashed to a square of `image_size`."""

    kind: str = KIND
    backbone: str = "biomedclip"
    labels: tuple[str, ...] = ()
    """Classes that validation told apart by prompts; the model itself has no classes."""


def save_clip_bundle(uri: str, model: "BiomedClip", tokenizer: "PromptTokenizer", **card: Any) -> ClipCard:
    """Write the bundle of `model` into the folder `uri` and return its card.

    The card is written last, so a new folder that has a card is complete.

    Args:
        uri: URI of the folder.
        model: the fine-tuned model.
        tokenizer: tokeniser with the model's vocabulary.
        card: fields of `ClipCard` that do not follow from the model.
    """
    from cxr_ray.models.biomedclip import CLIP_MEAN, CLIP_STD
    from cxr_ray.models.biomedclip_checkpoint import save_biomedclip

    save_biomedclip(uri, model, tokenizer)
    weights = read_bytes(join_uri(uri, WEIGHTS_NAME))
    clip_card = ClipCard(
        image_size=model.config.image_size,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        interpolation="bicubic",
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        **card,
    )
    write_bytes(join_uri(uri, CARD_NAME), json.dumps(asdict(clip_card), indent=2).encode())
    return clip_card
