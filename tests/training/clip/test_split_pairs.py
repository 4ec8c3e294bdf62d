import numpy as np
import pyarrow as pa
import torch

from cxr_ray.archive.pairs import PAIRS
from cxr_ray.training.clip.split_pairs import numbered, pairs_by_split, same_pairs


def test_numbers_count_up_as_new_values_come():
    assert numbered(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    assert numbered([]).dtype == np.int64


def test_pairs_are_parted_by_split_and_numbered_over_all_of_them():
    rows = [
        ("a.png", "clear", "Normal", "train"),
        ("a.png", "no effusion", "Normal", "train"),
        ("b.png", "clear", "COVID", "val"),
        ("c.png", "clear", None, "train"),
        ("d.png", "mass", "other", "val"),
    ]
    image, caption, label, split = zip(*rows, strict=True)
    table = pa.table({"image": image, "uri": image, "caption": caption, "label": label, "split": split}, schema=PAIRS)
    found = pairs_by_split(table, ["x", "x", "y", "x", "z"], ["COVID", "Normal"])
    train, val = found["train"], found["val"]
    assert (len(train), len(val)) == (3, 2)
    assert train.pixels.tolist() == [0, 0, 2]
    assert train.images.tolist() == [0, 0, 0], "c.png is a copy of a.png"
    assert train.captions.tolist() == [0, 1, 0]
    assert train.labels.tolist() == [1, 1, -1]
    assert (val.pixels.tolist(), val.images.tolist()) == ([1, 3], [1, 2])
    assert (val.captions.tolist(), val.labels.tolist()) == ([0, 2], [0, -1])
    assert val.identities.tolist() == [[1, 0], [2, 2]]


def test_pairs_are_the_same_that_share_an_image_or_a_caption():
    found = same_pairs(torch.tensor([[0, 0], [0, 1], [1, 1], [2, 0], [1, 2]]))
    assert found.equal(found.T)
    together = {(i, j) for i, j in found.nonzero().tolist() if i < j}
    assert together == {(0, 1), (0, 3), (1, 2), (2, 4)}
