"""BiomedCLIP: an image and a sentence as two features whose cosine says how well they fit. Plain torch, no hub."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel, BertTokenizer, ViTConfig, ViTModel

from cxr_ray.config.checks import require
from cxr_ray.errors import BundleError
from cxr_ray.models.grey_input import GreyInput

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
VISION_EPS = 1e-6  # timm's ViT
TEXT_EPS = 1e-12  # BERT
LOGIT_SCALE = 4.4454
PAD_ID = 0
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, kw_only=True)
class BiomedClipConfig:
    """Sizes of both encoders; the defaults are the published model's, ViT-B/16 and PubMedBERT-base."""

    vision_hidden: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    vision_mlp: int = 3072
    image_size: int = 224
    """Pixels a side."""
    patch_size: int = 16
    text_hidden: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_mlp: int = 3072
    vocab_size: int = 30522
    text_positions: int = 512
    """Rows of the position table, of which only `context` are used."""
    context: int = 256
    """Tokens a prompt may have, [CLS] and [SEP] among them."""
    projection: int = 512
    """Length of a feature."""
    text_projection_hidden: int = 640

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value >= 1, name, value, ">= 1")
        require(self.image_size % self.patch_size == 0, "image_size", self.image_size, f"whole {self.patch_size}s")
        require(
            self.vision_hidden % self.vision_heads == 0, "vision_heads", self.vision_heads, "a divisor of the width"
        )
        require(self.text_hidden % self.text_heads == 0, "text_heads", self.text_heads, "a divisor of the width")
        require(self.context <= self.text_positions, "context", self.context, f"<= {self.text_positions} positions")


class BiomedClip(nn.Module):
    """Both encoders and their heads, with random weights (Zhang et al., arXiv 2303.00915).

    The image side is a pre-norm ViT without a norm before its blocks, the text side a post-norm BERT without pooler;
    each is read at its first token. In training mode BERT drops a tenth, as its pretraining did; call `eval()` to
    score.

    Attributes:
        logit_scale: float []; exp of it times the cosine are the logits of contrastive training.
    """

    def __init__(self, config: BiomedClipConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BiomedClipConfig()
        self.vision = ViTModel(_vision_config(config), add_pooling_layer=False)
        self.vision_projection = nn.Linear(config.vision_hidden, config.projection, bias=False)
        self.text = BertModel(_text_config(config), add_pooling_layer=False)
        self.text_projection = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(config.text_hidden, config.text_projection_hidden, bias=False),
                gelu=nn.GELU(),
                fc2=nn.Linear(config.text_projection_hidden, config.projection, bias=False),
            )
        )
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE))

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Image features float32 [N, projection] of L2 norm 1.

        Args:
            pixels: float [N, 3, image_size, image_size], normalised as by `clip_input`.
        """
        return self.blocks_after(self.blocks_until(pixels, -1), -1)

    def encode_text(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Text features float32 [N, projection] of L2 norm 1.

        Args:
            token_ids: int64 [N, L] of `PromptTokenizer.tokenise`, L at most `context`; padding is not attended to.

        Raises:
            ValueError: if L is more than `context`.
        """
        if token_ids.shape[1] > self.config.context:
            raise ValueError(f"prompts must have <= {self.config.context} tokens; got {token_ids.shape[1]}")
        hidden = self.text(input_ids=token_ids, attention_mask=(token_ids != PAD_ID).long()).last_hidden_state
        return functional.normalize(self.text_projection(hidden[:, 0]).float(), dim=-1)

    def blocks_until(self, pixels: torch.Tensor, layer: int) -> torch.Tensor:
        """Tokens float [N, T, vision_hidden] that leave block `layer`, [CLS] first, then the patches row by row.

        Args:
            pixels: float [N, 3, image_size, image_size], normalised.
            layer: zero-based; -1 for the embeddings that enter the first block.
        """
        hidden: torch.Tensor = self.vision.embeddings(pixels)
        for block in self.vision.layers[: layer + 1]:
            hidden = block(hidden)
        return hidden

    def blocks_after(self, hidden: torch.Tensor, layer: int) -> torch.Tensor:
        """Image features float32 [N, projection] of L2 norm 1, from the tokens that left block `layer`.

        Only [CLS] is read at the end, so the last block computes nothing else: a fifth of the work of four blocks.

        Args:
            hidden: float [N, T, vision_hidden], as `blocks_until` returns.
            layer: zero-based; -1 if no block has run.
        """
        blocks = list(self.vision.layers[layer + 1 :])
        for block in blocks[:-1]:
            hidden = block(hidden)
        first = _first_token(blocks[-1], hidden) if blocks else hidden[:, 0]
        return functional.normalize(self.vision_projection(self.vision.layernorm(first)).float(), dim=-1)


def _vision_config(config: BiomedClipConfig) -> ViTConfig:
    return ViTConfig(
        hidden_size=config.vision_hidden,
        num_hidden_layers=config.vision_layers,
        num_attention_heads=config.vision_heads,
        intermediate_size=config.vision_mlp,
        image_size=config.image_size,
        patch_size=config.patch_size,
        hidden_act="gelu",
        layer_norm_eps=VISION_EPS,
        qkv_bias=True,
    )


def _text_config(config: BiomedClipConfig) -> BertConfig:
    return BertConfig(
        hidden_size=config.text_hidden,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        intermediate_size=config.text_mlp,
        vocab_size=config.vocab_size,
        max_position_embeddings=config.text_positions,
        hidden_act="gelu",
        layer_norm_eps=TEXT_EPS,
        pad_token_id=PAD_ID,
    )


def _first_token(block: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Token 0, float [N, d], of what `block`, a pre-norm `ViTLayer`, makes of float [N, T, d]."""
    attention, normed = block.attention, block.layernorm_before(hidden)
    query, key, value = (
        projection(tokens).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for projection, tokens in (
            (attention.q_proj, normed[:, :1]),
            (attention.k_proj, normed),
            (attention.v_proj, normed),
        )
    )
    attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    first: torch.Tensor = hidden[:, :1] + attention.o_proj(attended)
    first = first + block.mlp(block.layernorm_after(first))
    return first[:, 0]


def clip_input(device: torch.device) -> GreyInput:
    """Uint8 [N, S, S], already resized to the model's square -> float32 [N, 3, S, S] as CLIP normalises."""
    return GreyInput(CLIP_MEAN, CLIP_STD, device, torch.contiguous_format)


class PromptTokenizer:
    """WordPiece of an uncased BERT vocabulary; nothing is fetched and no remote code runs.

    Args:
        vocabulary: a token per id, as the lines of `vocab.txt`.
        context: tokens a prompt may have; longer prompts are cut.

    Raises:
        BundleError: if a special token is missing or padding is not id 0.
    """

    def __init__(self, vocabulary: Sequence[str], *, context: int = 256) -> None:
        missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
        if missing or vocabulary[PAD_ID] != SPECIAL_TOKENS[0]:
            fault = f"it lacks {', '.join(missing)}" if missing else f"its first line is not {SPECIAL_TOKENS[0]}"
            raise BundleError(f"no vocabulary of BERT: {fault}; use the vocab.txt that belongs to the weights")
        self.vocabulary, self.context = tuple(vocabulary), context
        self._wordpiece = BertTokenizer(
            vocab={token: number for number, token in enumerate(vocabulary)}, do_lower_case=True
        )

    def tokenise(self, prompts: Sequence[str]) -> torch.Tensor:
        """Token ids int64 [N, L]: [CLS], the word pieces, [SEP], zeros up to the longest of the N prompts.

        Raises:
            ValueError: if there is no prompt.
        """
        if not prompts:
            raise ValueError("prompts must hold at least one sentence; got none")
        encoded = self._wordpiece(
            list(prompts), padding=True, truncation=True, max_length=self.context, return_tensors="pt"
        )
        return torch.as_tensor(encoded["input_ids"])
