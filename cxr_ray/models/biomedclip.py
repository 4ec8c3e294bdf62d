"""BiomedCLIP: features of images and sentences whose cosine shows how well they match; no model hub is needed."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers  # loads a class, and what it needs, when the class is named: 5 s that most processes do not need
from torch import nn
from torch.nn import functional

from cxr_ray.config.checks import require
from cxr_ray.errors import BundleError
from cxr_ray.models.grey_input import GreyInput

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
VISION_EPS = 1e-6  # of the layer norms of timm's ViT
TEXT_EPS = 1e-12  # of BERT's layer norms
LOGIT_SCALE = 4.4454
PAD_ID = 0
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, kw_only=True)
class BiomedClipConfig:
    """Sizes of both encoders; the defaults are those of the published model, ViT-B/16 and PubMedBERT-base."""

    vision_hidden: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    vision_mlp: int = 3072
    image_size: int = 224
    """Height and width of an image in pixels."""
    patch_size: int = 16
    text_hidden: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_mlp: int = 3072
    vocab_size: int = 30522
    text_positions: int = 512
    """Rows of the table of position embeddings; only the first `context` rows are used."""
    context: int = 256
    """Maximum number of tokens of a prompt, including [CLS] and [SEP]."""
    projection: int = 512
    """Length of the feature of an image or a sentence."""
    text_projection_hidden: int = 640

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value >= 1, name, value, ">= 1")
        require(
            self.image_size % self.patch_size == 0,
            "image_size",
            self.image_size,
            f"a multiple of patch_size {self.patch_size}",
        )
        require(
            self.vision_hidden % self.vision_heads == 0,
            "vision_heads",
            self.vision_heads,
            f"a divisor of vision_hidden {self.vision_hidden}",
        )
        require(
            self.text_hidden % self.text_heads == 0,
            "text_heads",
            self.text_heads,
            f"a divisor of text_hidden {self.text_hidden}",
        )
        require(
            self.context <= self.text_positions, "context", self.context, f"<= text_positions {self.text_positions}"
        )


class BiomedClip(nn.Module):
    """BiomedCLIP's image and text encoders with their projections and random weights (Zhang et al., arXiv 2303.00915).

    The image encoder is a pre-norm ViT without a norm before its blocks, and the text encoder a post-norm BERT without
    a pooler; a feature is read from the first token. In training mode BERT has a dropout of 0.1, as in its pretraining;
    call `eval()` before scoring.

    Attributes:
        logit_scale: float []; the logits of contrastive training are exp(logit_scale) times the cosine.
    """

    def __init__(self, config: BiomedClipConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BiomedClipConfig()
        self.vision = transformers.ViTModel(_vision_config(config), add_pooling_layer=False)
        self.vision_projection = nn.Linear(config.vision_hidden, config.projection, bias=False)
        self.text = transformers.BertModel(_text_config(config), add_pooling_layer=False)
        self.text_projection = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(config.text_hidden, config.text_projection_hidden, bias=False),
                gelu=nn.GELU(),
                fc2=nn.Linear(config.text_projection_hidden, config.projection, bias=False),
            )
        )
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE))

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode images to features float32 [N, projection] of L2 norm 1.

        Args:
            pixels: float [N, 3, image_size, image_size], normalised as by `clip_input`.
        """
        return self.blocks_after(self.blocks_until(pixels, -1), -1)

    def encode_text(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Encode prompts to features float32 [N, projection] of L2 norm 1.

        Args:
            token_ids: int64 [N, L] from `PromptTokenizer.tokenise`, with L <= `context`; padding is masked out.

        Raises:
            ValueError: if L is more than `context`.
        """
        if token_ids.shape[1] > self.config.context:
            raise ValueError(f"prompts must have <= {self.config.context} tokens; got {token_ids.shape[1]}")
        hidden = self.text(input_ids=token_ids, attention_mask=(token_ids != PAD_ID).long()).last_hidden_state
        return functional.normalize(self.text_projection(hidden[:, 0]).float(), dim=-1)

    def blocks_until(self, pixels: torch.Tensor, layer: int) -> torch.Tensor:
        """Tokens that leave block `layer`, float [N, T, vision_hidden]: [CLS], then the patches in row-major order.

        Args:
            pixels: float [N, 3, image_size, image_size], normalised as by `clip_input`.
            layer: zero-based index of a block; -1 gives the embeddings that enter the first block.
        """
        hidden: torch.Tensor = self.vision.embeddings(pixels)
        for block in self.vision.layers[: layer + 1]:
            hidden = block(hidden)
        return hidden

    def blocks_after(self, hidden: torch.Tensor, layer: int) -> torch.Tensor:
        """Image features float32 [N, projection] of L2 norm 1, from the tokens that left block `layer`.

        Only [CLS] is read at the end, so the last block computes no other token, which saves a fifth of the work of
        four blocks.

        Args:
            hidden: float [N, T, vision_hidden], as `blocks_until` returns it.
            layer: zero-based index of the block that the tokens left; -1 if no block has run.
        """
        blocks = list(self.vision.layers[layer + 1 :])
        for block in blocks[:-1]:
            hidden = block(hidden)
        first = _first_token(blocks[-1], hidden) if blocks else hidden[:, 0]
        return functional.normalize(self.vision_projection(self.vision.layernorm(first)).float(), dim=-1)


def _vision_config(config: BiomedClipConfig) -> "transformers.ViTConfig":
    return transformers.ViTConfig(
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


def _text_config(config: BiomedClipConfig) -> "transformers.BertConfig":
    return transformers.BertConfig(
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
    """Token 0, float [N, d], of the output of `block`, a pre-norm `ViTLayer`, for tokens float [N, T, d]."""
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
    """Function that normalises uint8 [N, S, S], already of the model's size, to float32 [N, 3, S, S] as CLIP does."""
    return GreyInput(CLIP_MEAN, CLIP_STD, device, torch.contiguous_format)


class PromptTokenizer:
    """WordPiece tokeniser of an uncased BERT vocabulary, which downloads nothing and runs no remote code.

    Args:
        vocabulary: the token of each id, in the order of the lines of `vocab.txt`.
        context: maximum number of tokens of a prompt; longer prompts are cut.

    Raises:
        BundleError: if a special token is missing, or the first token is not [PAD].
    """

    def __init__(self, vocabulary: Sequence[str], *, context: int = 256) -> None:
        missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
        if missing or vocabulary[PAD_ID] != SPECIAL_TOKENS[0]:
            fault = f"it lacks {', '.join(missing)}" if missing else f"its first line is not {SPECIAL_TOKENS[0]}"
            raise BundleError(
                f"the vocabulary is not one of BERT: {fault}; use the vocab.txt that belongs to the weights"
            )
        self.vocabulary, self.context = tuple(vocabulary), context
        self._wordpiece = transformers.BertTokenizer(
            vocab={token: number for number, token in enumerate(vocabulary)}, do_lower_case=True
        )

    def tokenise(self, prompts: Sequence[str]) -> torch.Tensor:
        """Token ids int64 [N, L] of N prompts: [CLS], the word pieces, [SEP], then zeros up to the longest prompt.

        Raises:
            ValueError: if there is no prompt.
        """
        if not prompts:
            raise ValueError("prompts must hold at least one sentence; got none")
        encoded = self._wordpiece(
            list(prompts), padding=True, truncation=True, max_length=self.context, return_tensors="pt"
        )
        return torch.as_tensor(encoded["input_ids"])
