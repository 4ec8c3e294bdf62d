"""Report a training to the MLflow server that the standard variable `MLFLOW_TRACKING_URI` names.

MLflow's other variables (`MLFLOW_EXPERIMENT_NAME`, `MLFLOW_TRACKING_USERNAME` and so on) hold, too. Only the driver of a
training talks to the server. A server that does not answer when a training starts ends it there; one that fails later
costs the training nothing, and what it missed is sent again with the next epoch.
"""

import hashlib
import logging
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxr_ray import __version__
from cxr_ray.archive.uris import one_line
from cxr_ray.config.redaction import redacted, redacted_values
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import ConfigError, TrainingError
from cxr_ray.training.training_output import TrainingOutput

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
OTHER_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default epochs would wait for minutes for a server that is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Variables of MLflow with other values than its defaults, unless the user has set them."""
TRAINING_TAG = "cxr_ray.training"
"""Tag of the id of a training, by which the same command finds the run of MLflow that it continues."""
LONGEST_VALUE = 500
"""Maximum number of characters of a parameter's value, which older servers enforce."""
MOST_IN_A_REQUEST = 100
"""Maximum number of parameters of one request."""

log = logging.getLogger("cxr_ray")


class MlflowRun:
    """A run of MLflow to which the driver of a training reports.

    Args:
        client: client of the server.
        run_id: MLflow's id of the run.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._missing: list[dict[str, Any]] = []
        self._is_behind = False

    def add(self, metrics: dict[str, Any]) -> None:
        """Send the metrics of an epoch, with its number as the step, and those that the server missed before."""
        self._missing.append(metrics)
        self._send()

    def _send(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            while self._missing:
                self._client.log_batch(self._run_id, metrics=metrics_of_epoch(self._missing[0]))
                del self._missing[0]
        except MlflowException as error:
            if not self._is_behind:
                log.warning("MLflow lacks epoch %s and what follows: %s", self._missing[0]["epoch"], one_line(error))
            self._is_behind = True
            return
        if self._is_behind:
            log.info("MLflow has all epochs again")
        self._is_behind = False

    def add_bundle(self, folder: Path, model_id: str, where: str) -> None:
        """Send the finished bundle as the artifact `bundle`, and the epochs that the server missed.

        Args:
            folder: folder of the bundle's files.
            model_id: id of the model, which becomes a tag.
            where: URI at which the bundle stays if the server fails.
        """
        self._send()
        try:
            self._client.set_tag(self._run_id, "cxr_ray.model_id", model_id)
            self._client.log_artifacts(self._run_id, str(folder), "bundle")
        except Exception as error:  # noqa: BLE001  each store of artifacts has its own, and the bundle itself is safe
            log.warning("MLflow lacks the bundle, which is in %s: %s", where, one_line(error))

    def end(self, status: str) -> None:
        """Set the status `FINISHED`, `FAILED` or `KILLED`."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.set_terminated(self._run_id, status)
        except MlflowException as error:
            log.warning("MLflow shows the run as running: %s", one_line(error))


@contextmanager
def mlflow_run(config: TrainingJobConfig, output: TrainingOutput, task: str) -> Iterator[MlflowRun | None]:
    """Begin or continue a run of MLflow, and end it with the block; yield None if no server is named.

    Args:
        config: config of the training, whose options become parameters.
        output: output of the training.
        task: what is trained, which names the run.

    Raises:
        ConfigError: if a server is named and MLflow is not installed.
        TrainingError: if the server does not answer.
    """
    uri = os.environ.get(TRACKING_VARIABLE)
    if not uri:
        yield None
        return
    run = _begun(uri, config, output, task)
    try:
        yield run
    except BaseException as error:
        run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    run.end("FINISHED")


def mlflow_variables() -> dict[str, str]:
    """Return the variables of MLflow of this process, for processes on other machines that train for it."""
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}


def _begun(uri: str, config: TrainingJobConfig, output: TrainingOutput, task: str) -> MlflowRun:
    for name, value in OTHER_DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ConfigError(
            f"{TRACKING_VARIABLE} is set and the package mlflow-skinny is not installed ({error.name}); "
            f"pip install 'cxr_ray[mlflow]', or unset {TRACKING_VARIABLE}"
        ) from error
    try:
        client = MlflowClient(uri)
        run = _found(client, config, output) or _created(client, output, task)
        client.update_run(run.info.run_id, status="RUNNING")
        _add_parameters(client, run, config)
    except MlflowException as error:
        raise TrainingError(
            f"MLflow at {redacted(uri)} does not take the run: {one_line(error)}; start the server, correct "
            f"{TRACKING_VARIABLE}, or unset it to train without MLflow"
        ) from error
    log.info("reporting to MLflow at %s, run %s", uri, run.info.run_id)
    return MlflowRun(client, run.info.run_id)


def training_key(output: TrainingOutput) -> str:
    """Id of a training: 16 hex digits from its output and everything on which its weights depend."""
    return hashlib.sha256(output.uri.encode() + output.identity.to_json()).hexdigest()[:16]


def _experiment_id(client: Any) -> str:
    """Id of the experiment that MLflow's variables name, which is made if it does not exist; MLflow's default if none."""
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name))
    return os.environ.get("MLFLOW_EXPERIMENT_ID", "0")


def _found(client: Any, config: TrainingJobConfig, output: TrainingOutput) -> Any:
    """The unfinished run of MLflow of an earlier attempt at this training; None if there is none or it starts over."""
    if config.overwrite:
        return None
    wanted = f"tags.`{TRAINING_TAG}` = '{training_key(output)}' and attributes.status != 'FINISHED'"
    runs = client.search_runs([_experiment_id(client)], wanted, max_results=1)
    return runs[0] if runs else None


def _created(client: Any, output: TrainingOutput, task: str) -> Any:
    name = redacted(output.uri).rstrip("/").rpartition("/")[2] or task
    tags = {
        TRAINING_TAG: training_key(output),
        "cxr_ray.task": task,
        "cxr_ray.version": __version__,
        "cxr_ray.output_uri": redacted(output.uri),
        "mlflow.source.name": f"cxr_ray {task}",
    }
    return client.create_run(_experiment_id(client), run_name=name, tags=tags)


def _add_parameters(client: Any, run: Any, config: TrainingJobConfig) -> None:
    """Send the options of the training that the run does not have yet; a parameter cannot be changed."""
    from mlflow.entities import Param

    values = {name: str(value)[:LONGEST_VALUE] for name, value in redacted_values(asdict(config)).items()}
    missing = [Param(name, value) for name, value in values.items() if name not in run.data.params]
    for start in range(0, len(missing), MOST_IN_A_REQUEST):
        client.log_batch(run.info.run_id, params=missing[start : start + MOST_IN_A_REQUEST])


def metrics_of_epoch(metrics: dict[str, Any]) -> list[Any]:
    """Turn the metrics of an epoch into those of MLflow, whose names lack some characters; values that are no numbers are left out."""
    from mlflow.entities import Metric

    now, epoch = int(time.time() * 1000), metrics["epoch"]
    return [
        Metric(re.sub(r"[^\w\-. /]", "_", name), float(value), now, epoch)
        for name, value in metrics.items()
        if name != "epoch" and isinstance(value, int | float) and math.isfinite(value)
    ]
