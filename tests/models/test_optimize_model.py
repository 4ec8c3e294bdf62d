"""The whole job, with one of timm's networks for tests, which NNCF quantises in seconds."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cxr_ray.archive.tables import write_table
from cxr_ray.config import ImportConfig, OptimizeConfig
from cxr_ray.errors import BundleError, ConfigError, DatasetError, EngineError, LossyModelError
from cxr_ray.imaging.resize import resize_image
from cxr_ray.models.backbones import build_network
from cxr_ray.models.bundle import CARD_NAME, WEIGHTS_NAME, read_card, save_bundle
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.import_model import import_model
from cxr_ray.models.optimize_model import optimize_model
from cxr_ray.schema import DATASET

pytestmark = pytest.mark.slow
SIZE = 32
LABELS = ("COVID", "Normal", "Viral Pneumonia")


def squares(images):
    """Pixels at the size of the network, uint8 [N, SIZE, SIZE]."""
    return np.stack([resize_image(image, SIZE) for image in images])


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pixels():
    """Sixty smooth images, uint8 [60, 40, 40]."""
    random = np.random.default_rng(5)
    coarse = random.integers(0, 256, (60, 5, 5), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((40, 40), Image.Resampling.BICUBIC)) for one in coarse])


@pytest.fixture(scope="module")
def save_original(tmp_path_factory):
    """Save a bundle whose random network gives each class to some of the images; its URI.

    With `alike`, the weights of two classes differ less than int8 numbers do.
    """

    def save(images, *, alike=False):
        torch.manual_seed(0)
        network = build_network("test_resnet", num_classes=3, image_size=SIZE, options={})
        inputs = torch.from_numpy(squares(images) / 255.0).float()
        inputs = ((inputs - 0.45) / 0.225)[:, None].expand(-1, 3, -1, -1)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            network.train()(inputs)
            logits, head = network.eval()(inputs), network.get_classifier()
            head.weight.mul_(2 / logits.std(0)[:, None])
            head.bias.copy_(-2 * logits.mean(0) / logits.std(0))
            if alike:
                head.weight[1] = head.weight[0] * (1 + 1e-4 * torch.randn(head.weight[0].shape))
                logits = network(inputs)
                head.bias[1] += (logits[:, 0] - logits[:, 1]).median()
        uri = str(tmp_path_factory.mktemp("original"))
        card = {
            "labels": LABELS,
            "image_size": SIZE,
            "network": {},
            "temperature": 1.3,
            "metrics": {"val_accuracy": 0.9},
        }
        save_bundle(uri, network.state_dict(), backbone="test_resnet", dataset_fingerprint="f", **card)
        return uri

    return save


@pytest.fixture(scope="module")
def original(save_original, pixels):
    return save_original(pixels)


@pytest.fixture(scope="module")
def write_dataset(tmp_path_factory):
    """Write a dataset of 20 train and 40 val images, whose labels are those that a bundle predicts; its URI."""

    def write(bundle, images, labels=None):
        folder = tmp_path_factory.mktemp("dataset")
        predicted = Classifier(bundle, device="cpu", precision="fp32").predict(squares(images)).argmax(1)
        columns = {name: [None] * len(images) for name in DATASET.names} | {
            "image_id": [f"{i:02}.png" for i in range(len(images))],
            "uri": [str(folder / f"{i:02}.png") for i in range(len(images))],
            "label": labels or [LABELS[k] for k in predicted],
            "split": ["train"] * 20 + ["val"] * 40,
        }
        for uri, image in zip(columns["uri"], images, strict=True):
            Image.fromarray(image).save(uri)
        write_table(pa.table(columns, schema=DATASET), str(folder / "dataset.parquet"))
        return str(folder / "dataset.parquet")

    return write


@pytest.fixture(scope="module")
def dataset(write_dataset, original, pixels):
    return write_dataset(original, pixels)


@pytest.fixture(scope="module")
def optimized(original, dataset, tmp_path_factory):
    """URI of the optimised bundle, its card, and the lines that were shown."""
    uri, lines = str(tmp_path_factory.mktemp("optimized") / "int8"), []
    config = OptimizeConfig(
        model_uri=original, dataset_uri=dataset, output_uri=uri, calibration_images=12, max_loss=0.1
    )
    return uri, optimize_model(config, lines.append), lines


def test_the_bundle_is_an_ordinary_one_with_the_original_weights(original, optimized):
    uri, written, _ = optimized
    before, card = read_card(original), read_card(uri)
    assert card == written
    assert (before.precision, card.precision) == ("fp32", "int8")
    for name in ("labels", "image_size", "temperature", "preprocessing_id", "dataset_fingerprint", "network", "mean"):
        assert getattr(card, name) == getattr(before, name)
    weights, kept = load_file(f"{original}/{WEIGHTS_NAME}"), load_file(f"{uri}/{WEIGHTS_NAME}")
    assert all(kept.pop(name).equal(tensor) for name, tensor in weights.items())
    assert kept.keys() == {"int8.graph", "int8.constants", "int8.reference"}


def test_the_card_compares_both_networks(original, optimized):
    uri, card, lines = optimized
    facts = card.metrics["int8"]
    assert card.metrics["val_accuracy"] == 0.9
    assert facts["accuracy"]["original"] == 1
    assert 0 <= facts["accuracy"]["original"] - facts["accuracy"]["int8"] <= 0.1
    low, high = facts["accuracy"]["difference_interval"]
    assert low <= facts["accuracy"]["difference"] <= high <= 0
    assert 0.9 <= facts["agreement"] <= 1
    assert (facts["n_images"], facts["n_groups"], facts["calibration_images"]) == (40, 40, 12)
    assert facts["made_from"] == read_card(original).model_id != card.model_id
    assert lines[0].startswith(f"quantising {read_card(original).model_id} with 12 train images")
    assert any(line.startswith("accuracy  ") and "1.0000" in line for line in lines)
    assert lines[-1] == f"int8 bundle {card.model_id} in {uri}; OpenVINO computes it on CPUs"


def test_it_is_scored_in_int8_by_openvino_and_as_the_original_by_torch(original, optimized, pixels):
    expected = Classifier(original, device="cpu", precision="fp32").predict(squares(pixels))
    fast = Classifier(optimized[0], device="cpu", engine="auto")
    assert (fast.engine.name, fast.precision) == ("openvino", "int8")
    found = fast.predict(squares(pixels))
    assert 1e-4 < np.abs(found - expected).mean() < 0.03
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.9
    for engine in ("torch", "openvino"):
        same = Classifier(optimized[0], device="cpu", engine=engine, precision="fp32")
        np.testing.assert_allclose(same.predict(squares(pixels)), expected, atol=1e-5)
    logits = fast.network(fast.to_input(squares(pixels[:2])))
    assert logits.requires_grad, "heat maps need the original network"


def test_it_can_be_imported_and_optimized_again_from_the_original_weights(optimized, dataset, tmp_path):
    again = ImportConfig(weights_uri=optimized[0], architecture="test_resnet", output_uri=str(tmp_path / "imported"))
    assert import_model(again).precision == "fp32"
    config = OptimizeConfig(
        model_uri=optimized[0], dataset_uri=dataset, output_uri=str(tmp_path / "again"), max_loss=0.1
    )
    card = optimize_model(config, lambda _: None)
    assert card.metrics["int8"]["calibration_images"] == 20, "all that there are"
    assert load_file(tmp_path / "again" / WEIGHTS_NAME).keys() == load_file(f"{optimized[0]}/{WEIGHTS_NAME}").keys()


def test_a_network_that_loses_too_much_is_refused_and_nothing_is_written(
    save_original, write_dataset, pixels, tmp_path
):
    uri = save_original(pixels, alike=True)
    config = OptimizeConfig(
        model_uri=uri, dataset_uri=write_dataset(uri, pixels), output_uri=str(tmp_path / "int8"), max_loss=0.1
    )
    lines = []
    with pytest.raises(
        LossyModelError, match=r"^int8 loses 0\.\d+ of the accuracy on 40 val images, more than max_loss 0\.1; nothing"
    ):
        optimize_model(config, lines.append)
    assert not (tmp_path / "int8").exists()
    assert any(line.startswith("accuracy") for line in lines), "what was measured is shown"


def test_what_cannot_work_is_refused_before_the_long_part(
    original, optimized, dataset, write_dataset, pixels, tmp_path, monkeypatch
):
    def optimize(**options):
        options = {"model_uri": original, "dataset_uri": dataset, "output_uri": str(tmp_path / "new")} | options
        return optimize_model(OptimizeConfig(**options), lambda _: None)

    with pytest.raises(ConfigError, match=r"a bundle is at .*; name another output or add --overwrite"):
        optimize(output_uri=optimized[0])
    with pytest.raises(ConfigError, match="output_uri must be another folder than model_uri"):
        optimize(output_uri=original, overwrite=True)
    with pytest.raises(BundleError, match="no model bundle at"):
        optimize(model_uri=str(tmp_path))
    with pytest.raises(DatasetError, match="the classifier knows COVID, Normal, Viral Pneumonia, and no image"):
        optimize(dataset_uri=write_dataset(original, pixels, labels=["cat"] * 60))
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(EngineError, match="NNCF is not installed"):
        optimize()
    assert not (tmp_path / "new").exists()


def test_a_card_that_promises_what_the_bundle_lacks_is_refused(original, tmp_path):
    for name in (WEIGHTS_NAME, CARD_NAME):
        (tmp_path / name).write_bytes(Path(original, name).read_bytes())
    card = json.loads((tmp_path / CARD_NAME).read_text()) | {"precision": "int8"}
    (tmp_path / CARD_NAME).write_text(json.dumps(card))
    with pytest.raises(BundleError, match=r"damaged or foreign: the bundle has no tensor int8\.constants"):
        Classifier(str(tmp_path), device="cpu", engine="auto")
    Classifier(str(tmp_path), device="cpu", engine="torch")
