"""The folder that a training writes to: whose it is, and how far it has come."""

import logging
from dataclasses import dataclass

from cxr_ray.archive.uris import delete_tree, exists, join_uri, read_bytes, write_bytes
from cxr_ray.config.identity import START_OVER, WorkIdentity, held_values
from cxr_ray.errors import ResumeError
from cxr_ray.models.bundle import CARD_NAME, WEIGHTS_NAME, ModelCard, read_card

log = logging.getLogger("cxr_ray")

SIGNATURE_NAME = "training.json"
STATE_FOLDER, RUN_NAME = "_state", "train"


@dataclass(frozen=True, slots=True)
class TrainingOutput:
    """See the module."""

    uri: str
    identity: WorkIdentity

    @property
    def state_uri(self) -> str:
        """Folder of the states of all jobs that write to this output; Ray Train's run is `RUN_NAME` in it."""
        return join_uri(self.uri, STATE_FOLDER)

    @property
    def checkpoints_uri(self) -> str:
        """Where Ray Train keeps its checkpoints."""
        return join_uri(self.state_uri, RUN_NAME)

    @property
    def signature_uri(self) -> str:
        """What the training depends on."""
        return join_uri(self.uri, SIGNATURE_NAME)

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
        is_done, is_begun = exists(join_uri(self.uri, CARD_NAME)), exists(self.checkpoints_uri)
        if is_done or is_begun:
            self._check_same()
            if is_done:
                return True
            log.info("going on with the training in %s", self.uri)
        write_bytes(self.signature_uri, self.identity.to_json())
        return False

    def _check_same(self) -> None:
        """Refuse the bundle or the checkpoints of another training."""
        if not exists(self.signature_uri):
            raise ResumeError(f"{self.uri} holds a bundle or checkpoints of an unknown training; {START_OVER}")
        held = held_values(read_bytes(self.signature_uri), self.signature_uri)
        if difference := self.identity.difference(held):
            raise ResumeError(f"{self.uri} holds a training {difference}; {START_OVER}")

    def _clear(self) -> None:
        delete_tree(self.checkpoints_uri)
        for name in (CARD_NAME, WEIGHTS_NAME, SIGNATURE_NAME, "tensorboard", "history.parquet"):
            delete_tree(join_uri(self.uri, name))

    def conclude(self) -> None:
        """Delete the checkpoints: the bundle stands."""
        delete_tree(self.checkpoints_uri)
