"""Fixtures: clean phantoms, phantoms with a lead mark that gives the class away, and a tiny network trained on each."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.tables import write_table
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.phantoms.phantom import Phantom, draw_phantom
from cxr_ray.schema import DATASET

SIZE = 96
CLASSES = ("Lung_Opacity", "Normal")
COUNTS = {"train": 280, "val": 80, "test": 160}
TELLING = 0.9
"""Fraction of the marked images of a class that come from the hospital of their class, which burns its mark in."""


@dataclass(frozen=True)
class DrawnDataset:
    """A dataset of phantoms with a classifier that was trained on its train split.

    Attributes:
        folder: folder of the images and tables.
        table: rows of `schema.DATASET`.
        config: config of an audit of the classifier, without a source.
        sources_uri: CSV table of the hospital of each image.
    """

    folder: Path
    table: pa.Table
    config: AuditConfig
    sources_uri: str

    def with_table(self, table: pa.Table, name: str) -> AuditConfig:
        """Write another table of these images, and return the config that audits it."""
        uri = str(self.folder / f"{name}.parquet")
        write_table(table, uri)
        return replace(self.config, dataset_uri=uri, output_uri=str(self.folder / name))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Run torch in one thread: tiny models gain nothing from threads, which wait for each other on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def save_network():
    """Save the bundle of one of timm's networks for tests, of random weights, at a URI; the URI."""

    def save(uri, name="test_resnet", *, labels=CLASSES, image_size=32, **options):
        import torch

        from cxr_ray.models.backbones import build_network
        from cxr_ray.models.bundle import save_bundle

        torch.manual_seed(0)
        network = build_network(name, num_classes=len(labels), image_size=image_size, options=options)
        card = {"backbone": name, "labels": labels, "image_size": image_size, "network": options}
        save_bundle(str(uri), network.state_dict(), kind="classifier", **card)
        return str(uri)

    return save


@pytest.fixture(scope="session")
def phantoms() -> list[Phantom]:
    """Phantoms of two classes in turn, one of each patient."""
    return [draw_phantom(CLASSES[i % 2], seed=10_000 + i, size=SIZE) for i in range(sum(COUNTS.values()))]


@pytest.fixture(scope="session")
def clean(phantoms, tmp_path_factory) -> DrawnDataset:
    """Phantoms as they are, and hospitals that are drawn by chance."""
    hospitals = np.random.default_rng(0).choice(["A", "B"], len(phantoms)).tolist()
    return build(tmp_path_factory.mktemp("clean"), phantoms, hospitals, [phantom.pixels for phantom in phantoms])


@pytest.fixture(scope="session")
def marked(phantoms, tmp_path_factory) -> DrawnDataset:
    """Phantoms of two hospitals, of which A burns a plate into a corner; most opacities are from A, most others from B."""
    generator = np.random.default_rng(1)
    usual = [("A", "B") if phantom.label == CLASSES[0] else ("B", "A") for phantom in phantoms]
    hospitals = [own if generator.random() < TELLING else other for own, other in usual]
    pixels = [with_mark(one.pixels) if of == "A" else one.pixels for one, of in zip(phantoms, hospitals, strict=True)]
    return build(tmp_path_factory.mktemp("marked"), phantoms, hospitals, pixels)


def with_mark(pixels: np.ndarray) -> np.ndarray:
    """Burn the letter H in white strokes into the lower left corner of an image uint8 [SIZE, SIZE]."""
    marked = pixels.copy()
    top, left, height, width = SIZE - 15, 3, 12, 10
    marked[top : top + height, left : left + 3] = 255
    marked[top : top + height, left + width - 3 : left + width] = 255
    marked[top + height // 2 - 1 : top + height // 2 + 2, left : left + width] = 255
    return marked


def build(folder: Path, phantoms: list[Phantom], hospitals: list[str], pixels: list[np.ndarray]) -> DrawnDataset:
    """Write images, masks and tables, and train a classifier on the train split."""
    splits = [split for split, count in COUNTS.items() for _ in range(count)]
    rows = []
    for number, (phantom, image, split) in enumerate(zip(phantoms, pixels, splits, strict=True)):
        names = [folder / f"{kind}{number}.png" for kind in ("image", "mask")]
        Image.fromarray(image).save(names[0])
        Image.fromarray(phantom.lung_mask.astype(np.uint8) * 255).save(names[1])
        row = {"image_id": f"image{number}", "uri": str(names[0]), "label": phantom.label, "split": split}
        rows.append(row | {"patient_id": phantom.patient_id, "mask_uri": str(names[1])})
    table = pa.Table.from_pylist(rows, schema=DATASET)
    write_table(table, str(folder / "dataset.parquet"))
    lines = [f"{row['image_id']},{hospital}" for row, hospital in zip(rows, hospitals, strict=True)]
    (folder / "sources.csv").write_text("\n".join(["image_id,hospital", *lines]) + "\n")
    config = AuditConfig(
        model_uri=train(folder / "model", np.stack(pixels[: COUNTS["train"]]), phantoms[: COUNTS["train"]]),
        dataset_uri=str(folder / "dataset.parquet"),
        output_uri=str(folder / "audit"),
        engine="torch",
        bootstrap_draws=100,
    )
    return DrawnDataset(folder=folder, table=table, config=config, sources_uri=str(folder / "sources.csv"))


def train(uri: Path, pixels: np.ndarray, phantoms: list[Phantom]) -> str:
    """Train one of timm's networks for tests on images that are mirrored, dimmed and covered at random; its URI."""
    import torch

    from cxr_ray.models.backbones import build_network
    from cxr_ray.models.bundle import save_bundle

    torch.manual_seed(0)
    options = {"output_stride": 8}
    network = build_network("test_resnet", num_classes=2, image_size=SIZE, options=options)
    images = torch.from_numpy(pixels).float()[:, None] / 255
    truth = torch.tensor([CLASSES.index(phantom.label) for phantom in phantoms])
    epochs, size = 12, 20
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * len(truth) // size)
    for _ in range(epochs):
        for chosen in torch.randperm(len(truth)).split(size):
            loss = torch.nn.functional.cross_entropy(network(changed(images[chosen])), truth[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    save_bundle(
        str(uri), network.state_dict(), kind="classifier", backbone="test_resnet", labels=CLASSES, image_size=SIZE,
        network=options, mean=(0.5,) * 3, std=(0.25,) * 3,
    )  # fmt: skip
    return str(uri)


def changed(images):
    """Normalise images float [N, 1, S, S] in 0 to 1, with other brightness and noise than before."""
    import torch

    light = 0.1 * torch.randn(len(images), 1, 1, 1)
    images = images + light + 0.03 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(images)
    return ((images.clamp(0, 1) - 0.5) / 0.25).expand(-1, 3, -1, -1)
