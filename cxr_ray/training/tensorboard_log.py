"""TensorBoard event files of a training, written after each epoch."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from cxr_ray.archive.uris import delete_tree, join_uri, write_bytes
from cxr_ray.cluster.scratch_folder import ScratchFolder
from cxr_ray.evaluation.figures import confusion_matrix_png, mistakes_png
from cxr_ray.training.epoch_report import EpochReport, Mistake


def import_drawing_libraries() -> None:
    """Import the libraries of `TensorBoardLog`, which takes seconds; call it while the workers start."""
    import matplotlib.figure  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401


class TensorBoardLog:
    """Event files in the folder at `uri`: metrics as scalars and, for classifiers, confusion matrix and mistakes.

    Args:
        uri: folder on any storage; complete files are written there after each epoch.
        labels: class names for the confusion matrix and the mistakes.
        first_epoch: number of the first epoch of this run. TensorBoard hides what an earlier run wrote for this epoch and
            later ones; 1 deletes the files of an earlier run.

    Raises:
        StorageError: if the storage fails, here or in `add`; the next `add` writes the missing entries, too.
    """

    def __init__(self, uri: str, labels: Sequence[str], *, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._uri, self._labels = uri, labels
        if first_epoch == 1:
            delete_tree(uri)  # the curves of an earlier training would overlap the new ones
        self._folder = ScratchFolder("tensorboard")
        self._writer = SummaryWriter(str(self._folder.path), purge_step=first_epoch)

    def add(self, report: EpochReport) -> None:
        """Write the entries of one epoch to the event files at `uri`."""
        epoch = report.metrics["epoch"]
        for name, value in report.metrics.items():
            if name != "epoch":
                self._writer.add_scalar(name.replace("val_", "val/").replace("train_", "train/"), value, epoch)
        if report.confusion is not None:
            self._add_image("val/confusion", confusion_matrix_png(report.confusion, self._labels), epoch)
        if report.mistakes:
            sheet = mistakes_png(
                [mistake.pixels for mistake in report.mistakes], list(map(self._caption, report.mistakes))
            )
            self._add_image("val/mistakes", sheet, epoch)
        self._publish()

    def _caption(self, mistake: Mistake) -> str:
        truth, predicted = (self._labels[i].replace("_", " ") for i in (mistake.truth, mistake.predicted))
        return f"{truth}\nas {predicted} {mistake.confidence:.0%}"

    def _add_image(self, name: str, png: bytes, epoch: int) -> None:
        self._writer.add_image(name, np.asarray(Image.open(BytesIO(png)).convert("RGB")), epoch, dataformats="HWC")

    def _publish(self) -> None:
        self._writer.flush()
        for file in self._folder.path.iterdir():
            write_bytes(join_uri(self._uri, file.name), file.read_bytes())

    def close(self) -> None:
        """Close the writer and delete the local copies of its files; `add` has written all entries to `uri`."""
        self._writer.close()
        self._folder.delete()
