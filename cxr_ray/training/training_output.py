"""The output folder of a training: which training it belongs to, and whether that training is finished."""

import logging
from dataclasses import dataclass

from cxr_ray.archive.uris import delete_tree, exists, join_uri, read_bytes, write_bytes
from cxr_ray.config.identity import START_OVER, WorkIdentity, held_values
from cxr_ray.errors import ResumeError
from cxr_ray.models.bundle import CARD_NAME, WEIGHTS_NAME

log = logging.getLogger("cxr_ray")

SIGNATURE_NAME = "training.json"
STATE_FOLDER, RUN_NAME = "_state", "train"


@dataclass(frozen=True, slots=True)
class TrainingOutput:
    """The output folder of one training."""

    uri: str
    """Absolute URI of the folder."""
    identity: WorkIdentity
    """Identity of the training, which decides whether it may resume the work in the folder."""

    @property
    def state_uri(self) -> str:
        """Folder with the states of all jobs that write to this output, in which Ray Train's run is named `RUN_NAME`."""
        return join_uri(self.uri, STATE_FOLDER)

    @property
    def checkpoints_uri(self) -> str:
        """Folder in which Ray Train keeps its checkpoints."""
        return join_uri(self.state_uri, RUN_NAME)

    @property
    def owner_uri(self) -> str:
        """JSON file that names the run that trains in this folder; `--overwrite` does not delete it."""
        return join_uri(self.state_uri, f"{RUN_NAME}.owner.json")

    @property
    def signature_uri(self) -> str:
        """JSON file with the values of the training's identity."""
        return join_uri(self.uri, SIGNATURE_NAME)

    def is_finished(self, *, overwrite: bool) -> bool:
        """Claim the folder for this training, and return whether its finished bundle is in the folder.

        Args:
            overwrite: delete first what an earlier training left in the folder.

        Raises:
            ResumeError: if the folder holds another training or bundle and `overwrite` is not set.
        """
        if overwrite:
            self._clear()
        is_finished, is_started = exists(join_uri(self.uri, CARD_NAME)), exists(self.checkpoints_uri)
        if is_finished or is_started:
            self._check_same()
            if is_finished:
                return True
            log.info("resuming the training in %s", self.uri)
        write_bytes(self.signature_uri, self.identity.to_json())
        return False

    def _check_same(self) -> None:
        """Raise `ResumeError` if the bundle or checkpoints in the folder belong to another training."""
        if not exists(self.signature_uri):
            raise ResumeError(f"{self.uri} holds a bundle or checkpoints of an unknown training; {START_OVER}")
        held = held_values(read_bytes(self.signature_uri), self.signature_uri)
        if difference := self.identity.difference(held):
            raise ResumeError(f"{self.uri} holds a training {difference}; {START_OVER}")

    def _clear(self) -> None:
        """Delete the files of an earlier training, and leave all other files."""
        delete_tree(self.checkpoints_uri)
        for name in (CARD_NAME, WEIGHTS_NAME, SIGNATURE_NAME, "tensorboard", "history.parquet"):
            delete_tree(join_uri(self.uri, name))

    def delete_checkpoints(self) -> None:
        """Delete the checkpoints of a finished training; its bundle stays."""
        delete_tree(self.checkpoints_uri)
