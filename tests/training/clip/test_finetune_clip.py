"""Fine-tuning of BiomedCLIP: what it refuses at once, and what it learns and writes on a real Ray cluster."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.config import FinetuneClipConfig
from cxr_ray.errors import BundleError, DatasetError, ResumeError
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig, PromptTokenizer, clip_input
from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer, save_biomedclip
from cxr_ray.models.bundle import read_card
from cxr_ray.models.clip_card import ClipCard
from cxr_ray.training.clip.finetune_clip import check_labels, check_sizes, finetune_clip
from cxr_ray.training.clip.split_pairs import SplitPairs

KINDS = {
    "dark": "dark film without structures",
    "bright": "overexposed, bright throughout",
    "rows": "ribs lie level",
    "columns": "upright lines of a grid",
}
"""Caption of each kind of picture."""
SIZES = {"image_size": 48, "vocab_size": 64, "text_positions": 32, "context": 32, "projection": 32}
TINY = BiomedClipConfig(
    vision_hidden=64, vision_layers=2, vision_heads=2, vision_mlp=128, text_hidden=64, text_layers=2, text_heads=2,
    text_mlp=128, text_projection_hidden=48, **SIZES,
)  # fmt: skip
OPTIONS = {
    "epochs": 15, "batch_size": 4, "num_workers": 2, "learning_rate": 2e-3, "precision": "fp32",
    "class_prompts": {"dark": ["dark film", "dark"], "bright": ["bright throughout"]},
}  # fmt: skip


def picture(kind, rng):
    """Draw a noisy image uint8 [96, 48]; resized to a square, its stripes are half as wide as a patch of the model."""
    y, x = np.mgrid[0:96, 0:48]
    levels = {"dark": 40, "bright": 210, "rows": 40 + 170 * (y // 16 % 2), "columns": 40 + 170 * (x // 8 % 2)}
    return (levels[kind] + rng.normal(0, 12, y.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Table of 64 pictures of four kinds, each with the caption of its kind; a quarter is val, and one more row is test."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(64):
        kind = list(KINDS)[i % 4]
        Image.fromarray(picture(kind, rng)).save(folder / f"{i}.png")
        split = "val" if i % 16 >= 12 else "train"
        rows.append({"image": f"{i}.png", "caption": KINDS[kind], "label": kind if i % 4 < 2 else None, "split": split})
    rows.append({"image": "gone.png", "caption": "no one looks at it", "label": None, "split": "test"})
    write_table(pa.Table.from_pylist(rows), str(folder / "pairs.parquet"))
    return str(folder / "pairs.parquet")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a tiny BiomedCLIP, with a vocabulary."""
    words = sorted({word.strip(",") for caption in KINDS.values() for word in caption.split()})
    torch.manual_seed(0)
    uri = str(tmp_path_factory.mktemp("weights"))
    save_biomedclip(uri, BiomedClip(TINY), PromptTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", *words]))
    return uri


def config_of(dataset, weights, output, **options):
    return FinetuneClipConfig(dataset_uri=dataset, weights_uri=weights, output_uri=str(output), **OPTIONS | options)


@pytest.mark.cluster
@pytest.mark.slow
def test_kinds_are_learned_by_two_workers_everything_is_written_and_nothing_is_done_twice(
    ray_cluster, dataset, weights, tmp_path, capsys
):
    output = tmp_path / "out"
    card = finetune_clip(config_of(dataset, weights, output))
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()].count("epoch") == 15
    assert "image->text@1" in shown
    assert card == read_card(str(output), ClipCard)
    # A random model reaches one quarter, because there are four captions for equal numbers of pictures.
    assert card.metrics["val_image_to_text_at_1"] >= 0.75
    assert card.metrics["val_text_to_image_at_1"] >= 0.75
    assert card.metrics["val_zero_shot_accuracy"] >= 0.75
    assert card.labels == ("dark", "bright")
    history = read_table(f"{output}/history.parquet").to_pylist()
    assert [epoch["epoch"] for epoch in history] == list(range(1, 16))
    assert {epoch["workers"] for epoch in history} == {2}
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[card.metrics["epoch"] - 1]["val_recall_at_1"] == max(e["val_recall_at_1"] for e in history)
    assert list((output / "tensorboard").iterdir())
    assert not (output / "_state" / "train").exists()
    assert json.loads((output / "run.json").read_text())["model_id"] == card.model_id
    assert_the_bundle_knows_new_pictures(str(output))

    assert finetune_clip(config_of(dataset, weights, output, debug=True)) == card
    assert "was trained by this command before" in capsys.readouterr().out
    with pytest.raises(
        ResumeError, match=r"holds a training made with tau 0\.6; this command has tau 0\.5; choose another"
    ):
        finetune_clip(config_of(dataset, weights, output, tau=0.5))

    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/model.safetensors").write_bytes((output / "model.safetensors").read_bytes())
    with pytest.raises(BundleError, match=r"no vocab\.txt beside the weights"):
        finetune_clip(config_of(dataset, str(tmp_path / "bare"), tmp_path / "other"))
    with pytest.raises(DatasetError, match="48 train pairs are too few for a --batch-size of 32 on each of 2 workers"):
        finetune_clip(config_of(dataset, weights, tmp_path / "other", batch_size=32))


def assert_the_bundle_knows_new_pictures(uri):
    model = load_biomedclip(uri)
    tokenizer = load_tokenizer(uri, model.config)
    pictures = [Image.fromarray(picture(kind, np.random.default_rng(9))) for kind in KINDS]
    frames = np.stack([np.asarray(image.resize((48, 48), Image.Resampling.BICUBIC)) for image in pictures])
    with torch.no_grad():
        images = model.encode_image(clip_input(torch.device("cpu"))(frames))
        texts = model.encode_text(tokenizer.tokenise(list(KINDS.values())))
    assert (images @ texts.T).argmax(1).eq(torch.arange(4)).sum() >= 3


def labelled(*labels):
    return pa.table({"label": pa.array(labels, pa.string())})


def test_labels_and_prompts_belong_together():
    prompts = {"a": ["x"], "b": ["y"]}
    check_labels(labelled("a", None, "b"), prompts)
    check_labels(labelled("c", "d"), {})
    with pytest.raises(DatasetError, match="no pair has a label; add the column label to the table"):
        check_labels(labelled(None, None), prompts)
    with pytest.raises(DatasetError, match="class_prompts has no prompts for the label c, d of the table"):
        check_labels(labelled("a", "d", "c"), prompts)


def of_size(count, label=0):
    numbers = np.arange(count)
    return SplitPairs(pixels=numbers, images=numbers, captions=numbers, labels=np.full(count, label))


def test_splits_that_are_too_small_are_named():
    config = config_of("d", "w", "o", num_workers="1..3")
    check_sizes({"train": of_size(12), "val": of_size(2)}, config)
    with pytest.raises(DatasetError, match="11 train pairs are too few for a --batch-size of 4 on each of 3 workers"):
        check_sizes({"train": of_size(11), "val": of_size(2)}, config)
    with pytest.raises(DatasetError, match="1 val pairs are too few, two are needed; raise --val-fraction"):
        check_sizes({"train": of_size(12), "val": of_size(1)}, config)
    with pytest.raises(DatasetError, match="no val pair has a label"):
        check_sizes({"train": of_size(12), "val": of_size(2, label=-1)}, config)
