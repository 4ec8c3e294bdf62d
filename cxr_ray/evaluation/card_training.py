"""Answers of the model card about the training, from the record of the training and from the bundle's card."""

from typing import Any

from cxr_ray.evaluation.model_facts import ModelFacts

OPTIONS = {
    "dataset_uri": "dataset",
    "epochs": "epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "warmup": "warm-up",
    "label_smoothing": "label smoothing",
    "dropout": "dropout",
    "ema_decay": "decay of the averaged weights",
    "seed": "seed",
}
AUGMENTATIONS = ("flip", "rotate", "translate", "scale", "brightness", "contrast", "gamma", "erase", "mixup")


def training_answers(facts: ModelFacts) -> dict[str, str | None]:
    """Answer the topics `start`, `training`, `selection` and `imbalance`; None where no record says it."""
    config = facts.training.get("config", {})
    return {
        "start": _start(facts, config),
        "training": _options(config) if "epochs" in config else None,
        "selection": _selection(facts, config),
        "imbalance": _imbalance(config),
    }


def _start(facts: ModelFacts, config: dict[str, Any]) -> str | None:
    if "weights_uri" in config or "pretrained" in config:
        if config.get("weights_uri"):
            return f"From the weights {config['weights_uri']}."
        return "From weights of timm's hub." if config.get("pretrained") else "From random weights."
    sources = [card["source"] for card in facts.cards if card["source"]]
    named = sorted({str(source["uri"]) for source in sources if source.get("uri")})
    return f"Imported: {', '.join(named)}." if named else None


def _options(config: dict[str, Any]) -> str:
    said = [f"{title} {config[name]}" for name, title in OPTIONS.items() if config.get(name) is not None]
    used = [f"{name} {config[name]}" for name in AUGMENTATIONS if config.get(name)]
    return f"{', '.join(said)}; random changes of the images: {', '.join(used) or 'none'}."


def _selection(facts: ModelFacts, config: dict[str, Any]) -> str | None:
    if "best_by" not in config:
        return None
    epochs = [card["metrics"]["epoch"] for card in facts.cards if "epoch" in card["metrics"]]
    of_epoch = f" It is that of epoch {epochs[0]}." if epochs else ""
    return f"The epoch of the best {str(config['best_by']).replace('_', ' ')} on the val split.{of_epoch}"


def _imbalance(config: dict[str, Any]) -> str | None:
    if "class_balance" not in config:
        return None
    way = config["class_balance"]
    return "Nothing was done." if way in (None, "none") else f"Classes were balanced by {str(way).replace('_', ' ')}."
