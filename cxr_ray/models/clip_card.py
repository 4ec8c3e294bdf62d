"""The bundle of a fine-tuned BiomedCLIP: `model.safetensors`, `vocab.txt`, and `model.json` that vouches for them."""

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
    """What `model.json` says of the weights beside it; the whole frame is squashed to the square."""

    kind: str = KIND
    backbone: str = "biomedclip"
    labels: tuple[str, ...] = ()
    """Classes that the training validated by, with prompts; the model itself knows none."""


def save_clip_bundle(uri: str, model: "BiomedClip", tokenizer: "PromptTokenizer", **card: Any) -> ClipCard:
    """Write the bundle into the folder `uri`; `card` fills the fields of `ClipCard` that the model does not tell.

    The card is written last: a folder that has one is whole.
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
