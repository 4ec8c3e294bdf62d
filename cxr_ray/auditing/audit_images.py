"""The images of an audit: pixels at the size of the classifier, true classes, patients, and lungs."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import rows_of_split
from cxr_ray.auditing.lung_masks import lungs_of_dataset, lungs_of_segmenter
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.classifier import outcomes
from cxr_ray.models.dataset_images import LabelledImages, batches_of_pixels, labelled_images
from cxr_ray.schema import SPLITS


@dataclass(frozen=True, kw_only=True)
class AuditImages:
    """N images whose class the classifier knows.

    Attributes:
        image_ids: their names.
        pixels: uint8 [N, S, S] at the size of the classifier.
        truth: int64 [N], index of the true class among `labels`.
        labels: names of the outcomes of the classifier.
        groups: int64 [N], equal for images of one patient and for copies of one image.
        lungs: bool [N, S, S]; None if nothing says where the lungs are.
        has_lungs: bool [N], whether the lungs of an image are known and not empty.
    """

    image_ids: list[str]
    pixels: np.ndarray
    truth: np.ndarray
    labels: tuple[str, ...]
    groups: np.ndarray
    lungs: np.ndarray | None
    has_lungs: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)

    def part(self, chosen: np.ndarray) -> "AuditImages":
        """Select the images where `chosen`, bool [N], is true."""
        return replace(
            self,
            image_ids=[name for name, is_chosen in zip(self.image_ids, chosen, strict=True) if is_chosen],
            pixels=self.pixels[chosen],
            truth=self.truth[chosen],
            groups=self.groups[chosen],
            lungs=None if self.lungs is None else self.lungs[chosen],
            has_lungs=self.has_lungs[chosen],
        )

    def with_lungs(self) -> "AuditImages":
        """Select the images whose lungs are known."""
        return self.part(self.has_lungs)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The images that the classifier answers, and those from which probes learn; both sets may share images.

    Attributes:
        answered: images of the audited split.
        learned: images of the splits for probes.
        left_out: number of images of all these splits by label that the classifier does not know; None is no label.
    """

    answered: AuditImages
    learned: AuditImages
    left_out: dict[str | None, int]


def select_images(dataset: pa.Table, card: ModelCard, config: AuditConfig) -> Selection:
    """Load the images of the splits of `config`, at most `max_images` of each of the two sets.

    Raises:
        DatasetError: if a split is empty, no label is known to the classifier, or an image or mask cannot be read.
        BundleError: if the segmenter's bundle is missing or damaged.
    """
    wanted = set(config.retrain_splits) | (set(SPLITS) if config.split == "all" else {config.split})
    rows = pa.concat_tables([rows_of_split(dataset, split) for split in SPLITS if split in wanted])
    known = labelled_images(rows, card)
    splits = np.array(known.rows["split"].to_pylist(), dtype=object)
    of_answered = np.full(len(splits), True) if config.split == "all" else splits == config.split
    of_learned = np.isin(splits.astype(str), config.retrain_splits)
    is_answered = of_answered & drawn_patients(known.groups, of_answered, config.max_images, config.seed)
    is_learned = of_learned & drawn_patients(known.groups, of_learned, config.max_images, config.seed)
    used = is_answered | is_learned
    images = _load(known, used, card, config)
    return Selection(
        answered=images.part(is_answered[used]), learned=images.part(is_learned[used]), left_out=known.left_out
    )


def drawn_patients(groups: np.ndarray, among: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Draw whole patients until there are at most `limit` images, bool [N]; the first patient is drawn in any case.

    Args:
        groups: int64 [N], number of the patient of each image.
        among: bool [N], images to draw from.
        limit: maximum number of images.
        seed: seed of the order of the patients; the same patients come first, whatever else is in `among`.
    """
    order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    counts = np.bincount(groups[among], minlength=len(order))[order]
    fits = np.cumsum(counts) <= max(limit, int(counts[counts > 0][:1].sum()))
    return among & np.isin(groups, order[fits])


def _load(known: LabelledImages, used: np.ndarray, card: ModelCard, config: AuditConfig) -> AuditImages:
    rows = known.rows.filter(pa.array(used))
    pixels = np.concatenate([*batches_of_pixels(rows, card)])
    lungs = None
    if config.segmenter_uri is not None:
        lungs = lungs_of_segmenter(pixels, config.segmenter_uri, config.engine)
    elif pc.any(pc.is_valid(rows["mask_uri"])).as_py():
        lungs = lungs_of_dataset(rows, card.image_size)
    if lungs is not None and not lungs.any():
        lungs = None
    names, _ = outcomes(card.labels, np.empty((0, len(card.labels))))
    return AuditImages(
        image_ids=rows["image_id"].to_pylist(),
        pixels=pixels,
        truth=known.truth[used],
        labels=tuple(names),
        groups=known.groups[used],
        lungs=lungs,
        has_lungs=np.zeros(len(pixels), bool) if lungs is None else np.asarray(lungs.any((1, 2))),
    )
