import json
import math
import socket
from contextlib import contextmanager

import pytest

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.errors import ConfigError, TrainingError
from cxr_ray.training.mlflow_run import MlflowRun, mlflow_run
from cxr_ray.training.training_output import TrainingOutput

EPOCHS = [{"epoch": n, "val_loss": 1 / n, "val_recall_Lung (R)": 0.5, "val_auroc": math.nan} for n in (1, 2, 3)]


@pytest.fixture
def client(monkeypatch, tmp_path):
    """A client of a store of MLflow in files, which the variables name."""
    tracking = pytest.importorskip("mlflow.tracking", reason="mlflow is not installed: pip install 'cxr_ray[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/store")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "chests")
    return tracking.MlflowClient(f"file://{tmp_path}/store")


def training(tmp_path, **options):
    config = TrainClassifierConfig(dataset_uri="d", output_uri=str(tmp_path / "model"), backbone="resnet50", **options)
    return config, TrainingOutput(config.output_uri, WorkIdentity.of(config, dataset="f")), "classifier"


def runs_of(client):
    experiment = client.get_experiment_by_name("chests")
    return client.search_runs([experiment.experiment_id])


def test_a_training_shows_its_options_its_curves_and_its_bundle(client, tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "model.json").write_text(json.dumps({"kind": "classifier"}))
    with mlflow_run(*training(tmp_path)) as tracked:
        for metrics in EPOCHS:
            tracked.add(metrics)
        tracked.add_bundle(bundle, "resnet50-0a1b", "model")
    (run,) = runs_of(client)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "model")
    assert (run.data.params["backbone"], run.data.params["batch_size"]) == ("resnet50", "32")
    assert run.data.tags["cxr_ray.model_id"] == "resnet50-0a1b"
    curve = client.get_metric_history(run.info.run_id, "val_loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert "val_recall_Lung _R_" in run.data.metrics
    assert "val_auroc" not in run.data.metrics, "a metric that is no number is left out"
    assert [file.path for file in client.list_artifacts(run.info.run_id, "bundle")] == ["bundle/model.json"]


def test_the_same_training_continues_its_run_and_one_that_starts_over_gets_its_own(client, tmp_path):
    with pytest.raises(KeyboardInterrupt), mlflow_run(*training(tmp_path)):
        raise KeyboardInterrupt
    assert [run.info.status for run in runs_of(client)] == ["KILLED"]
    with pytest.raises(TrainingError), mlflow_run(*training(tmp_path, max_failures=9)):
        raise TrainingError("lost")
    assert [run.info.status for run in runs_of(client)] == ["FAILED"]
    with mlflow_run(*training(tmp_path, overwrite=True)):
        assert sorted(run.info.status for run in runs_of(client)) == ["FAILED", "RUNNING"]


def test_without_the_variable_nothing_is_reported(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with mlflow_run(*training(tmp_path)) as tracked:
        assert tracked is None


def test_a_missing_package_is_one_line_that_names_the_fix(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setitem(__import__("sys").modules, "mlflow.exceptions", None)
    with (
        pytest.raises(
            ConfigError, match=r"^MLFLOW_TRACKING_URI is set and .*; pip install 'cxr_ray\[mlflow\]', or unset"
        ),
        mlflow_run(*training(tmp_path)),
    ):
        pass


@contextmanager
def refusing_port():
    """A port of this machine on which nothing answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_server_that_does_not_answer_ends_a_training_before_it_starts(client, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with refusing_port() as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:pw@127.0.0.1:{port}")
        wanted = rf"^MLflow at http://\*\*\*@127.0.0.1:{port} does not take the run: .*; start the server, correct"
        with pytest.raises(TrainingError, match=wanted), mlflow_run(*training(tmp_path)):
            pass


def test_a_server_that_fails_later_costs_the_training_nothing_and_gets_what_it_missed(client, tmp_path, caplog):
    from mlflow.tracking import MlflowClient

    with (
        refusing_port() as port,
        pytest.MonkeyPatch.context() as environment,
        mlflow_run(*training(tmp_path)) as tracked,
    ):
        environment.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        answering = tracked._client
        tracked._client = MlflowClient(f"http://127.0.0.1:{port}")
        tracked.add(EPOCHS[0])
        tracked.add(EPOCHS[1])
        tracked.add_bundle(tmp_path, "m", "s3://models/m")
        said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert [line.split(":")[0] for line in said] == [
            "MLflow lacks epoch 1 and what follows",
            "MLflow lacks the bundle, which is in s3",
        ]
        tracked._client = answering
        tracked.add(EPOCHS[2])
    (run,) = runs_of(client)
    assert len(client.get_metric_history(run.info.run_id, "val_loss")) == 3
    assert isinstance(tracked, MlflowRun)
