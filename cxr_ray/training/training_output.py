"""The folder that a training writes to: whose it is, and how far it has come."""

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

from cxr_ray.archive.uris import delete_tree, exists, join_uri, read_bytes, write_bytes
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import ResumeError
from cxr_ray.models.bundle import CARD_NAME, WEIGHTS_NAME, ModelCard, read_card

log = logging.getLogger("cxr_ray")

SIGNATURE_NAME = "training.json"
STATE_NAME, RUN_NAME = "_state", "train"
OF_NO_CONSEQUENCE = (
    "output_uri", "overwrite", "sweep", "num_workers", "use_gpu", "feed", "max_failures", "compile", "debug"
)  # fmt: skip
"""Fields of a config that may change between runs of one training."""


@dataclass(frozen=True, slots=True)
class TrainingSignature:
    """What makes two runs the same training: recipe and data."""

    fields: dict[str, Any]

    @classmethod
    def of(cls, config: TrainingJobConfig, dataset_fingerprint: str) -> "TrainingSignature":
        """Of a config and the images it trains on."""
        fields = {name: value for name, value in asdict(config).items() if name not in OF_NO_CONSEQUENCE}
        del fields["dataset_uri"]  # its content counts, not where it lies
        read_back = json.loads(json.dumps(fields))  # where tuples are lists
        return cls(read_back | {"dataset": dataset_fingerprint})

    def difference(self, other: dict[str, Any]) -> str | None:
        """The first field in which another training differs, in words."""
        for name in sorted(self.fields | other):
            if self.fields.get(name) != other.get(name):
                return f"{name} {other.get(name)}, not {self.fields.get(name)}"
        return None


@dataclass(frozen=True, slots=True)
class TrainingOutput:
    """See the module."""

    uri: str
    signature: TrainingSignature

    @property
    def state_uri(self) -> str:
        """Folder of the states of all jobs that write to this output; Ray Train's run is `RUN_NAME` in it."""
        return join_uri(self.uri, STATE_NAME)

    @property
    def checkpoints_uri(self) -> str:
        """Where Ray Train keeps its checkpoints."""
        return join_uri(self.state_uri, RUN_NAME)

    def claim(self, *, overwrite: bool) -> ModelCard | None:
        """Make the folder this training's; the card of the classifier if it is finished there already.

        Raises:
            ResumeError: if the folder holds another training or bundle and `overwrite` is not set.
        """
        return read_card(self.uri) if self.is_finished(overwrite=overwrite) else None

    def is_finished(self, *, overwrite: bool) -> bool:
        """Make the folder this training's; whether its bundle stands there already. See `claim`."""
        if overwrite:
            self._clear()
        signature_uri = join_uri(self.uri, SIGNATURE_NAME)
        is_done, is_begun = exists(join_uri(self.uri, CARD_NAME)), exists(self.checkpoints_uri)
        found = json.loads(read_bytes(signature_uri)) if exists(signature_uri) else {}
        if is_done or is_begun:
            if difference := self.signature.difference(found):
                raise ResumeError(
                    f"{self.uri} holds a training with {difference}; --overwrite starts over, or choose another output"
                )
            if is_done:
                return True
            log.info("going on with the training in %s", self.uri)
        write_bytes(signature_uri, json.dumps(self.signature.fields, indent=2).encode())
        return False

    def _clear(self) -> None:
        delete_tree(self.checkpoints_uri)
        for name in (CARD_NAME, WEIGHTS_NAME, SIGNATURE_NAME, "tensorboard", "history.parquet"):
            delete_tree(join_uri(self.uri, name))

    def conclude(self) -> None:
        """Delete the checkpoints: the bundle stands."""
        delete_tree(self.checkpoints_uri)
