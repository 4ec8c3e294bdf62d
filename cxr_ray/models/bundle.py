"""Model bundles: folders with `model.safetensors` and `model.json`; nothing is pickled, and every byte is checked."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, overload

from pydantic import AfterValidator, Field, FiniteFloat, TypeAdapter, ValidationError

from cxr_ray import __version__
from cxr_ray.archive.uris import join_uri, read_bytes, write_bytes
from cxr_ray.config.backbones import IMAGENET_MEAN, IMAGENET_STD
from cxr_ray.errors import BundleError, StorageError
from cxr_ray.imaging.raster import DECODING
from cxr_ray.imaging.resize import INTERPOLATIONS
from cxr_ray.models.state_file import arrays_of_safetensors, safetensors_of
from cxr_ray.models.weights_cache import OtherWeightsError, fetch_weights
from cxr_ray.schema import probability_column

if TYPE_CHECKING:
    import numpy as np
    import torch

WEIGHTS_NAME = "model.safetensors"
CARD_NAME = "model.json"
INT8_PREFIX = "int8."
"""Prefix of the tensors of an int8 network, which a bundle may hold beside its weights."""
FIX_OF_KIND = {
    "multilabel_classifier": "; findings are scored by classify_archive.py and score_archive.py, and evaluated by evaluate_classifier.py"
}
"""What a bundle is good for, by its kind, as the end of an error where another kind is needed."""
OTHER_WEIGHTS = "train or export the model again"
"""Advice where the weights of a bundle cannot be used."""


def _of_own_columns(labels: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(map(probability_column, labels))) < len(labels):
        raise ValueError(f"{labels} would share a probability column; rename one of them")
    return labels


def _known(interpolation: str) -> str:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"{interpolation!r} is not one of {', '.join(INTERPOLATIONS)}")
    return interpolation


Labels = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_of_own_columns)]
PerChannel = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Spread = Annotated[FiniteFloat, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Content of `model.json`, which describes the weights of a bundle; `read_card` checks every field."""

    kind: str = "classifier"
    """Kind of the model; subclasses have a kind and fields of their own."""
    backbone: str
    labels: Labels
    """Class names in the order of the outputs."""
    image_size: Annotated[int, Field(ge=1)]
    """Height and width in pixels to which images are squashed."""
    mean: PerChannel = IMAGENET_MEAN
    std: tuple[Spread, Spread, Spread] = IMAGENET_STD
    interpolation: Annotated[str, AfterValidator(_known)] = "bilinear"
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # also names the file in a node's cache
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    code_version: str = __version__
    dataset_fingerprint: str | None = None
    temperature: Spread = 1.0
    """Divisor of the logits that calibrates the probabilities; it is fitted on the val split."""
    metrics: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] | None = None
    """Arguments with which timm builds an imported network; None for a backbone of the table."""
    source: dict[str, Any] = field(default_factory=dict)
    """Where imported weights come from: URI, sha256, layout and licence."""
    precision: Literal["fp32", "int8"] = "fp32"
    """int8 if the bundle also holds an int8 network made from its weights, which CPUs compute in their place."""

    @property
    def model_id(self) -> str:
        """Name of the model in outputs: the backbone and the first 12 hex digits of the weights' sha256."""
        return f"{self.backbone}-{self.weights_sha256[:12]}"

    @property
    def preprocessing_id(self) -> str:
        """Hash of the preprocessing: 12 hex digits that change with anything that changes the model's input pixels."""
        recipe = json.dumps([self.image_size, self.mean, self.std, self.interpolation, "squash", DECODING])
        return hashlib.sha256(recipe.encode()).hexdigest()[:12]


Card = TypeVar("Card", bound=ModelCard)


@dataclass(frozen=True)
class _Kind:
    kind: str


def save_bundle(
    uri: str, weights: "Mapping[str, torch.Tensor]", card_type: type[ModelCard] = ModelCard, **card: Any
) -> ModelCard:
    """Write a bundle into the folder `uri` and return its card.

    The card is written last, so a new bundle that has a card is complete.

    Args:
        uri: URI of the folder.
        weights: tensors by name.
        card_type: class of the card.
        card: fields of `card_type` except `weights_sha256`, which is computed here.
    """
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    model_card = card_type(weights_sha256=hashlib.sha256(data).hexdigest(), **card)
    write_bytes(join_uri(uri, WEIGHTS_NAME), data)
    write_bytes(join_uri(uri, CARD_NAME), json.dumps(asdict(model_card), indent=2).encode())
    return model_card


@overload
def read_card(uri: str) -> ModelCard: ...
@overload
def read_card(uri: str, card_type: type[Card]) -> Card: ...
def read_card(uri: str, card_type: type[Any] = ModelCard) -> Any:
    """Read the card of the bundle at `uri`, without its weights.

    Raises:
        BundleError: if there is no bundle, its card is damaged, or its kind is not that of `card_type`.
    """
    with _faults_named(uri):
        found = kind_of(uri)  # checked first, because other kinds have other fields
        if found != card_type.kind:
            raise BundleError(
                f"{uri} is a bundle of kind {found!r}; a {card_type.kind!r} is needed here{FIX_OF_KIND.get(found, '')}"
            )
        return TypeAdapter(card_type).validate_json(read_bytes(join_uri(uri, CARD_NAME)))


def kind_of(uri: str) -> str:
    """Read the kind of the bundle at `uri`, such as `classifier`.

    Raises:
        BundleError: if there is no bundle, or its card is damaged.
    """
    with _faults_named(uri):
        return TypeAdapter(_Kind).validate_json(read_bytes(join_uri(uri, CARD_NAME))).kind


@contextmanager
def _faults_named(uri: str) -> Iterator[None]:
    """Turn what reading the card of a bundle raises into a `BundleError`."""
    try:
        yield
    except StorageError as error:
        raise BundleError(
            f"no model bundle at {uri}: it has no readable {CARD_NAME}; name the folder that holds it"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where, fault = ".".join(map(str, first["loc"])) or "the file", first["msg"]
        raise BundleError(f"{join_uri(uri, CARD_NAME)}: {where}: {fault[0].lower()}{fault[1:]}") from error


def load_weights(uri: str, card: ModelCard) -> "dict[str, torch.Tensor]":
    """Load the weights of the bundle at `uri` onto the CPU, without an int8 network beside them.

    All processes of a node share one download.

    Raises:
        BundleError: if the weights are missing, do not have the sha256 of `card`, or are not a safetensors file.
    """
    tensors = safetensors_of(join_uri(uri, WEIGHTS_NAME), _checked_weights(uri, card), fix=OTHER_WEIGHTS)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(INT8_PREFIX)}


def load_int8(uri: str, card: ModelCard) -> "dict[str, np.ndarray]":
    """Load the tensors of the int8 network of the bundle at `uri`, by their names without `INT8_PREFIX`; {} without one.

    Raises:
        BundleError: as `load_weights`.
    """
    data = _checked_weights(uri, card)
    arrays = arrays_of_safetensors(join_uri(uri, WEIGHTS_NAME), data, prefix=INT8_PREFIX, fix=OTHER_WEIGHTS)
    return {name.removeprefix(INT8_PREFIX): array for name, array in arrays.items()}


def _checked_weights(uri: str, card: ModelCard) -> bytes:
    """Content of the weights file of the bundle at `uri`, which has the sha256 of `card`."""
    weights_uri = join_uri(uri, WEIGHTS_NAME)
    try:
        return fetch_weights(weights_uri, card.weights_sha256).data
    except StorageError as error:
        raise BundleError(f"the bundle is incomplete: {error}") from error
    except OtherWeightsError as error:
        raise BundleError(
            f"{weights_uri} was altered or belongs to another model: "
            f"its sha256 is {error.found[:12]}..., its card says {card.weights_sha256[:12]}...; {OTHER_WEIGHTS}"
        ) from error
