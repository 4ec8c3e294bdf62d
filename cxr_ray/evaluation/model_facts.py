"""What files say about a model and its predictions: the records of the runs, and the card of the bundle."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cxr_ray.archive.run_record import RECORD_NAME
from cxr_ray.archive.uris import exists, join_uri, read_bytes
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.config.redaction import redacted_values
from cxr_ray.errors import BundleError, StorageError


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """Facts of the records; what is not known is empty."""

    scoring: dict[str, Any] = field(default_factory=dict)
    """Content of run.json of the predictions."""
    cards: tuple[dict[str, Any], ...] = ()
    """Content of model.json of each bundle that made the predictions and can be read."""
    training: dict[str, Any] = field(default_factory=dict)
    """Content of run.json beside the bundle, where there is one bundle and a training wrote it."""
    notes: tuple[str, ...] = ()
    """Sentences about records that cannot be used."""


def collect_facts(config: EvaluateClassifierConfig, model_ids: Sequence[str]) -> ModelFacts:
    """Read the record of the predictions and the cards of their bundles, as far as they are there.

    A bundle whose weights are not those of the predictions is left out, and a note says so.

    Args:
        config: the evaluation; `model_uri` names the bundle, else the record of the predictions does.
        model_ids: models of the predictions.
    """
    scoring = _record(config.predictions_uri)
    found = scoring.get("config", {}).get("model_uri") or []
    uris = [config.model_uri] if config.model_uri else [found] if isinstance(found, str) else list(found)
    cards: list[dict[str, Any]] = []
    notes = [] if scoring else ["The predictions have no run.json."]
    for uri in uris:
        card, note = _card(uri, model_ids)
        cards += [card] if card else []
        notes += [note] if note else []
    training = _record(uris[0]) if len(uris) == 1 and cards else {}
    facts = redacted_values({"scoring": scoring, "cards": cards, "training": training})
    return ModelFacts(
        scoring=facts["scoring"], cards=tuple(facts["cards"]), training=facts["training"], notes=tuple(notes)
    )


def _record(folder_uri: str) -> dict[str, Any]:
    """The record run.json in a folder; empty if there is none, or it is no record."""
    uri = join_uri(folder_uri, RECORD_NAME)
    if not exists(uri):
        return {}
    try:
        record = json.loads(read_bytes(uri))
    except ValueError:
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("config"), dict) else {}


def _card(uri: str, model_ids: Sequence[str]) -> tuple[dict[str, Any] | None, str | None]:
    """The card of the bundle at `uri` with its `model_id`, or a note that says why it is not used."""
    from cxr_ray.models.bundle import read_card

    try:
        card = read_card(uri)
    except (BundleError, StorageError) as error:
        return None, f"The card of the bundle cannot be read: {error}."
    is_of_these = any(card.model_id in model_id for model_id in model_ids)
    if not is_of_these:
        return None, f"The bundle {uri} is now of the model {card.model_id}, which did not make these predictions."
    return {**asdict(card), "model_id": card.model_id}, None
