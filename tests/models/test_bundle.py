import json
import pickle
import threading
import uuid

import fsspec
import pytest

from cxr_ray.config.backbones import IMAGENET_MEAN
from cxr_ray.errors import BundleError
from cxr_ray.models.bundle import (
    CARD_NAME,
    WEIGHTS_NAME,
    kind_of,
    load_int8,
    load_weights,
    read_card,
    save_bundle,
)
from cxr_ray.models.segmenter_ensemble import SegmenterCard


@pytest.fixture
def weights():
    import torch

    return {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.steps": torch.tensor(7)}


@pytest.fixture
def saved(tmp_path, weights):
    """URI of a small bundle, and its card."""
    uri = str(tmp_path / "bundle")
    return uri, save_bundle(uri, weights, kind="classifier", backbone="resnet50", labels=("a", "b"), image_size=32)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def remote(weights, cache):
    """URI of a bundle on a filesystem that is not this machine's disk, and its card."""
    uri = f"memory://bundles/{uuid.uuid4().hex}"
    return uri, save_bundle(uri, weights, kind="classifier", backbone="resnet50", labels=("a", "b"), image_size=32)


def edit_card(uri, **changes):
    path = f"{uri}/{CARD_NAME}"
    with fsspec.open(path) as file:
        card = json.load(file) | changes
    with fsspec.open(path, "w") as file:
        json.dump({name: value for name, value in card.items() if value is not ...}, file)


def assert_equal(loaded, weights):
    assert loaded.keys() == weights.keys()
    assert all(loaded[name].dtype == tensor.dtype and loaded[name].equal(tensor) for name, tensor in weights.items())


def test_round_trip(saved, weights):
    uri, card = saved
    assert read_card(uri) == card
    assert card.mean == IMAGENET_MEAN
    assert card.model_id == f"resnet50-{card.weights_sha256[:12]}"
    assert_equal(load_weights(uri, card), weights)


def test_an_int8_network_lies_beside_the_weights_and_is_read_apart(tmp_path, weights):
    import torch

    int8 = {"int8.graph": torch.arange(5, dtype=torch.uint8), "int8.reference": torch.ones(2, 3)}
    card = save_bundle(
        str(tmp_path), weights | int8, backbone="resnet50", labels=("a",), image_size=32, precision="int8"
    )
    assert_equal(load_weights(str(tmp_path), card), weights)
    loaded = load_int8(str(tmp_path), card)
    assert {name: (array.dtype.name, array.tolist()) for name, array in loaded.items()} == {
        "graph": ("uint8", [0, 1, 2, 3, 4]),
        "reference": ("float32", [[1, 1, 1], [1, 1, 1]]),
    }


def test_an_ordinary_bundle_has_no_int8_network(saved):
    uri, card = saved
    assert card.precision == "fp32"
    assert load_int8(uri, card) == {}


def test_tensors_that_are_not_contiguous_keep_their_values(tmp_path):
    import torch

    turned = torch.arange(12.0).reshape(1, 3, 2, 2).to(memory_format=torch.channels_last)
    uri = str(tmp_path)
    card = save_bundle(uri, {"w": turned}, kind="classifier", backbone="resnet50", labels=("a",), image_size=32)
    assert_equal(load_weights(uri, card), {"w": turned})


def test_preprocessing_id_changes_with_the_input_pixels_and_with_nothing_else(tmp_path, weights):
    def preprocessing_id(**changes):
        card = {"kind": "classifier", "backbone": "resnet50", "labels": ("a", "b"), "image_size": 32} | changes
        return save_bundle(str(tmp_path), weights, **card).preprocessing_id

    same = preprocessing_id()
    assert preprocessing_id(backbone="densenet121", labels=("c",), metrics={"val_accuracy": 0.5}) == same
    others = {
        preprocessing_id(image_size=33),
        preprocessing_id(mean=(0.5, 0.5, 0.5)),
        preprocessing_id(std=(0.5, 0.5, 0.5)),
        preprocessing_id(interpolation="bicubic"),
    }
    assert len(others | {same}) == 5


def test_keys_of_the_card_may_have_any_order_and_unknown_keys_are_ignored(saved):
    uri, card = saved
    path = f"{uri}/{CARD_NAME}"
    with fsspec.open(path) as file:
        fields = json.load(file)
    with fsspec.open(path, "w") as file:
        json.dump({"from_the_future": 1} | dict(reversed(fields.items())), file)
    assert read_card(uri) == card


def test_the_kind_is_read_alone(saved, tmp_path):
    assert kind_of(saved[0]) == "classifier"
    with pytest.raises(BundleError, match="no model bundle at"):
        kind_of(str(tmp_path / "none"))


@pytest.mark.parametrize("where", ["nowhere", "nowhere.pt"])
def test_a_missing_bundle_is_refused(tmp_path, where):
    with pytest.raises(BundleError, match=rf"no model bundle at .*{where}: it has no readable model.json; name"):
        read_card(str(tmp_path / where))


def test_a_file_in_place_of_a_folder_is_no_bundle(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(BundleError, match=r"no model bundle at .*model\.pt"):
        read_card(str(tmp_path / "model.pt"))


def test_a_bundle_of_another_kind_is_refused(saved):
    with pytest.raises(BundleError, match="is a bundle of kind 'classifier'; a 'segmenter' is needed here"):
        read_card(saved[0], SegmenterCard)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ...}, "labels: field required"),
        ({"labels": []}, "labels: tuple should have at least 1 item"),
        ({"labels": ["Viral Pneumonia", "viral-pneumonia"]}, "labels: .* would share a probability column; rename one"),
        ({"image_size": 0}, "image_size: input should be greater than or equal to 1"),
        ({"image_size": "large"}, "image_size: input should be a valid integer"),
        ({"mean": [0.5]}, "mean.1: field required"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean.2: input should be a finite number"),
        ({"std": [0.2, 0.2, 0]}, "std.2: input should be greater than 0"),
        ({"interpolation": "Nearest"}, "interpolation: .*'Nearest' is not one of bilinear, bicubic, lanczos"),
        ({"weights_sha256": "../../passwd"}, "weights_sha256: string should match pattern"),
    ],
)
def test_a_damaged_card_is_refused_by_the_name_of_the_field(saved, changes, message):
    edit_card(saved[0], **changes)
    with pytest.raises(BundleError, match=f"{CARD_NAME}: {message}"):
        read_card(saved[0])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'"model"'])
def test_a_card_that_is_not_a_json_object_is_refused(saved, content):
    with fsspec.open(f"{saved[0]}/{CARD_NAME}", "wb") as file:
        file.write(content)
    with pytest.raises(BundleError, match=rf"{CARD_NAME}: \w"):
        read_card(saved[0])


def test_missing_weights_are_refused(saved):
    uri, card = saved
    fsspec.filesystem("file").rm(f"{uri}/{WEIGHTS_NAME}")
    with pytest.raises(BundleError, match=f"the bundle is incomplete: cannot read .*{WEIGHTS_NAME}"):
        load_weights(uri, card)


@pytest.mark.parametrize("byte", [0, 8, -1])
def test_altered_weights_are_refused(saved, byte):
    uri, card = saved
    data = bytearray(fsspec.filesystem("file").cat_file(f"{uri}/{WEIGHTS_NAME}"))
    data[byte] ^= 1
    fsspec.filesystem("file").pipe_file(f"{uri}/{WEIGHTS_NAME}", bytes(data))
    with pytest.raises(BundleError, match=rf"was altered .* its card says {card.weights_sha256[:12]}\.\.\."):
        load_weights(uri, card)


def test_an_altered_hash_on_the_card_is_refused(saved):
    edit_card(saved[0], weights_sha256="0" * 64)
    with pytest.raises(BundleError, match=r"its card says 000000000000\.\.\.; train or export the model again"):
        load_weights(saved[0], read_card(saved[0]))


class Trap:
    """Object that creates the file `mark` when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (self.mark, "w"))


def test_pickled_weights_are_refused_and_not_unpickled_though_their_hash_is_right(saved, tmp_path):
    import hashlib

    import torch

    uri, _ = saved
    mark = tmp_path / "unpickled"
    torch.save({"layer.weight": Trap(str(mark))}, f"{uri}/{WEIGHTS_NAME}")
    for data in (fsspec.filesystem("file").cat_file(f"{uri}/{WEIGHTS_NAME}"), pickle.dumps(Trap(str(mark)))):
        fsspec.filesystem("file").pipe_file(f"{uri}/{WEIGHTS_NAME}", data)
        edit_card(uri, weights_sha256=hashlib.sha256(data).hexdigest())
        with pytest.raises(BundleError, match=f"{WEIGHTS_NAME} is not a safetensors file"):
            load_weights(uri, read_card(uri))
    assert not mark.exists()


def test_a_node_downloads_weights_once(remote, weights, cache):
    uri, card = remote
    assert_equal(load_weights(uri, card), weights)
    fsspec.filesystem("memory").rm(f"{uri}/{WEIGHTS_NAME}")
    assert_equal(load_weights(uri, card), weights)
    assert [path.name for path in cache.rglob("*.bin")] == [f"{card.weights_sha256}.bin"]


def test_altered_remote_weights_do_not_enter_the_cache(remote, cache):
    uri, card = remote
    fsspec.filesystem("memory").pipe_file(f"{uri}/{WEIGHTS_NAME}", b"altered")
    with pytest.raises(BundleError, match="was altered"):
        load_weights(uri, card)
    assert not list(cache.rglob("*.bin"))


def test_actors_of_a_node_that_start_together_all_get_the_weights(remote, weights):
    uri, card = remote
    loaded = []
    threads = [threading.Thread(target=lambda: loaded.append(load_weights(uri, card))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 8
    for one in loaded:
        assert_equal(one, weights)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_weights_on_this_machine_are_read_in_place(saved, weights, cache, scheme):
    uri, card = saved
    assert_equal(load_weights(scheme + uri, card), weights)
    assert not cache.exists()
