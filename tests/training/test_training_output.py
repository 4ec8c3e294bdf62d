import json

import pytest
import torch

from cxr_ray.archive.output_lock import output_lock
from cxr_ray.archive.uris import exists, join_uri, write_bytes
from cxr_ray.config import FinetuneClipConfig, TrainClassifierConfig
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.errors import ResumeError
from cxr_ray.models.bundle import read_card, save_bundle
from cxr_ray.training.training_output import TrainingOutput


def output(uri, *, fingerprint="f1", **options):
    config = TrainClassifierConfig(dataset_uri="d", output_uri=str(uri), **options)
    return TrainingOutput(str(uri), WorkIdentity.of(config, dataset=fingerprint))


def leave_checkpoint(uri):
    write_bytes(join_uri(str(uri), "_state", "train", "checkpoint", "state.pt"), b"x")


def leave_bundle(uri):
    card = {"kind": "classifier", "backbone": "resnet50", "labels": ("a", "b"), "image_size": 32}
    return save_bundle(str(uri), {"w": torch.zeros(1)}, **card)


@pytest.fixture(params=["local", "memory"])
def uri(request, tmp_path):
    return str(tmp_path / "out") if request.param == "local" else f"memory://out-{tmp_path.name}"


def test_an_empty_folder_is_claimed_and_the_same_command_resumes(uri):
    assert not output(uri).is_finished(overwrite=False)
    leave_checkpoint(uri)
    assert not output(uri, num_workers=2, feed="stream", debug=True).is_finished(overwrite=False)
    assert exists(join_uri(uri, "_state", "train"))


def test_a_command_that_left_no_checkpoint_does_not_block_another_training(uri):
    output(uri, epochs=3).is_finished(overwrite=False)
    assert not output(uri, epochs=4).is_finished(overwrite=False)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"epochs": 7}, "epochs 50; this command has epochs 7"),
        ({"fingerprint": "f2"}, "dataset f1; this command has dataset f2"),
    ],
)
def test_another_training_is_refused_until_it_is_overwritten(uri, options, difference):
    output(uri).is_finished(overwrite=False)
    leave_checkpoint(uri)
    with pytest.raises(
        ResumeError, match=f"holds a training made with {difference}; choose another --output-uri, or --over"
    ):
        output(uri, **options).is_finished(overwrite=False)
    assert not output(uri, **options).is_finished(overwrite=True)
    assert not exists(join_uri(uri, "_state", "train"))


def test_a_finished_training_gives_its_card_and_keeps_no_state(uri):
    mine = output(uri)
    mine.is_finished(overwrite=False)
    leave_checkpoint(uri)
    card = leave_bundle(uri)
    mine.delete_checkpoints()
    assert not exists(join_uri(uri, "_state", "train"))
    assert mine.is_finished(overwrite=False)
    assert read_card(uri).model_id == card.model_id


def test_a_finished_training_that_is_overwritten_leaves_nothing_behind_but_the_files_of_others(uri):
    output(uri).is_finished(overwrite=False)
    leave_bundle(uri)
    leave_checkpoint(uri)
    own = (
        "model.json",
        "model.safetensors",
        "history.parquet",
        "tensorboard/events",
        "_state/train/checkpoint/state.pt",
    )
    for name in ("history.parquet", "tensorboard/events", "notes.txt"):
        write_bytes(join_uri(uri, name), b"x")
    assert all(exists(join_uri(uri, name)) for name in own)
    assert not output(uri, epochs=7).is_finished(overwrite=True)
    assert [name for name in own if exists(join_uri(uri, name))] == []
    assert exists(join_uri(uri, "notes.txt"))
    leave_checkpoint(uri)
    assert not output(uri, epochs=7).is_finished(overwrite=False), "the folder is the new training's"


def test_the_state_of_a_scoring_job_in_the_same_folder_stays(uri):
    marks = join_uri(uri, "_state", "masks", "job.json")
    write_bytes(marks, b"{}")
    mine = output(uri)
    assert not mine.is_finished(overwrite=False)
    leave_checkpoint(uri)
    assert not mine.is_finished(overwrite=True)
    mine.delete_checkpoints()
    assert exists(marks)


def test_a_bundle_that_no_training_left_is_not_written_over(uri):
    leave_bundle(uri)
    with pytest.raises(ResumeError, match="holds a bundle or checkpoints of an unknown training; choose another"):
        output(uri).is_finished(overwrite=False)


def test_a_config_with_pairs_and_tables_is_recognised_again(uri):
    def finetuning(**options):
        required = {"dataset_uri": "d", "weights_uri": "w", "output_uri": uri}
        config = FinetuneClipConfig(**required, class_prompts={"a": ["x"], "b": ["y", "z"]}, **options)
        return TrainingOutput(uri, WorkIdentity.of(config, dataset="f"))

    assert not finetuning().is_finished(overwrite=False)
    leave_checkpoint(uri)
    assert not finetuning(num_workers="1..4", max_failures=0).is_finished(overwrite=False)
    with pytest.raises(ResumeError, match=r"crop_scale \[0.9, 1.0\]; this command has crop_scale \[0.8, 1.0\]"):
        finetuning(crop_scale=(0.8, 1.0)).is_finished(overwrite=False)
    leave_bundle(uri)
    assert finetuning().is_finished(overwrite=False)


def test_a_training_whose_note_is_damaged_is_refused(uri):
    leave_bundle(uri)
    write_bytes(join_uri(uri, "training.json"), b"{")
    with pytest.raises(ResumeError, match=r"training\.json is damaged; choose another --output-uri, or --overwrite"):
        output(uri).is_finished(overwrite=False)
    assert not output(uri).is_finished(overwrite=True)


def test_a_training_of_a_version_that_lacked_an_option_is_refused(uri):
    values = dict(output(uri).identity.values)
    del values["gamma"]
    leave_checkpoint(uri)
    write_bytes(join_uri(uri, "training.json"), json.dumps(values).encode())
    with pytest.raises(
        ResumeError, match=r"which did not note gamma; this command has gamma 0\.0; choose another --out"
    ):
        output(uri).is_finished(overwrite=False)
    assert not output(uri).is_finished(overwrite=True)


def test_one_training_at_a_time_holds_a_folder_and_overwriting_keeps_its_owner(uri):
    mine = output(uri)
    with output_lock(mine, "first"):
        assert not mine.is_finished(overwrite=True)
        message = r"^run first on .* is writing to .*; wait until it ends, stop it, or"
        with pytest.raises(ResumeError, match=message), output_lock(output(uri, epochs=7), "second"):
            pass
        mine.delete_checkpoints()
        assert exists(mine.owner_uri)
    assert not exists(mine.owner_uri)
