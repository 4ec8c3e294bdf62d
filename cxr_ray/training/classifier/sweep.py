"""Training of several recipes on one dataset, as many at once as fit on the cluster, and a table that compares them."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import tune
from ray.actor import ActorHandle

from cxr_ray.archive.kept_log import kept_log
from cxr_ray.archive.output_lock import output_lock
from cxr_ray.archive.run_record import new_run_id, write_run_record
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import absolute_uri, join_uri
from cxr_ray.cluster.nodes import possible_nodes
from cxr_ray.cluster.scratch_folder import ScratchFolder
from cxr_ray.cluster.session import ray_session
from cxr_ray.config import TrainClassifierConfig, load_config
from cxr_ray.config.terminal import print_line
from cxr_ray.errors import ConfigError, CxrRayError, TrainingError
from cxr_ray.models.starting_weights import check_starting_weights
from cxr_ray.training.epoch_lines import reported_epochs
from cxr_ray.training.mlflow_run import mlflow_variables
from cxr_ray.training.workers import cpus_per_worker, worker_slots

log = logging.getLogger("cxr_ray")

COLUMNS = ("val_accuracy", "val_macro_f1", "val_auroc", "val_loss")


@dataclass(frozen=True, slots=True)
class SweepOutput:
    """The output of a sweep; each of its recipes holds its own folder there."""

    uri: str
    """Absolute URI of the folder."""

    @property
    def owner_uri(self) -> str:
        """JSON file that names the run that sweeps into this folder."""
        return join_uri(self.uri, "_state", "sweep.owner.json")


def sweep_classifiers(argv: Sequence[str]) -> list[dict[str, Any]]:
    """Train every recipe of `--sweep` into the folder `OUTPUT/NAME`; print and return the comparison, best recipe first.

    A recipe that an earlier run finished is not trained again; any other resumes after its last finished epoch.

    Args:
        argv: arguments of the command line, which override every recipe.

    Returns:
        One row per recipe with `recipe`, `model_id`, `epoch` and the metrics of `COLUMNS`, which are None if it failed.
        A metric that the val split cannot give, such as the AUROC of a single class, is None, too.

    Raises:
        BundleError: if the weights to start from cannot be read, or are not those of a recipe's backbone.
        ConfigError: if a recipe cannot be read, or two recipes have the same name.
        ResumeError: if another run sweeps into the output.
        TrainingError: if a recipe failed; it is raised after all recipes have ended, and names each that failed.
    """
    config = load_config(TrainClassifierConfig, argv)
    output_uri = absolute_uri(config.output_uri)
    trials = {name: recipe_config(argv, path, name, output_uri) for name, path in named_recipes(config.sweep).items()}
    for uri, backbone in {(trial.weights_uri, trial.backbone) for trial in trials.values() if trial.weights_uri}:
        check_starting_weights(uri, backbone=backbone)
    # otherwise Tune prints a folder that no longer exists after the sweep
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    run_id = new_run_id()
    with output_lock(SweepOutput(output_uri), run_id) as lock, kept_log(output_uri, run_id):
        results = _trained(trials)
        lock.check()
        rows = _comparable(results)
        write_table(pa.Table.from_pylist(rows), join_uri(output_uri, "sweep.parquet"))
        write_run_record(output_uri, config, recipes=rows)
    print_line(comparison(rows))
    if problems := [
        f"{name}: {metrics.get('problem', 'its trial was lost')}"
        for name, metrics in results
        if "model_id" not in metrics
    ]:
        raise TrainingError("; ".join(problems))
    return rows


def _comparable(results: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of the comparison, best recipe first, from the name and the metrics of each recipe."""
    rows = [
        {"recipe": name} | {k: metrics.get(k) for k in ("model_id", "epoch", *COLUMNS)} for name, metrics in results
    ]
    return sorted(rows, key=lambda row: -(row["val_accuracy"] or 0.0))


def _trained(trials: dict[str, TrainClassifierConfig]) -> list[tuple[str, dict[str, Any]]]:
    """Train every recipe, as many at once as fit; return the name and the metrics of each."""
    folder = ScratchFolder("sweep")
    with ray_session(), reported_epochs(print_line) as lines:
        at_once = trials_at_once(list(trials.values()))
        log.info("training %s recipes, %s at once", len(trials), at_once)
        tuner = tune.Tuner(
            # A trial only starts workers, which reserve their own CPUs. Tune refuses a trial that reserves nothing, so
            # each trial reserves one byte of memory.
            tune.with_resources(_trial(trials, lines), {"memory": 1}),
            param_space={"recipe": tune.grid_search(list(trials))},
            tune_config=tune.TuneConfig(max_concurrent_trials=at_once),
            run_config=tune.RunConfig(storage_path=str(folder.path), verbose=0),
        )
        results = [(result.config["recipe"], result.metrics or {}) for result in tuner.fit()]
    folder.delete()
    return results


def _trial(trials: dict[str, TrainClassifierConfig], lines: ActorHandle) -> Callable[[dict[str, str]], dict[str, Any]]:
    """Make the function that Tune runs for each recipe; it sends the lines of its training to the driver."""
    variables = mlflow_variables()

    def trial(chosen: dict[str, str]) -> dict[str, Any]:
        from cxr_ray.training.classifier.train_classifier import train_classifier

        name = chosen["recipe"]
        os.environ.update(variables)  # the trial may run on another machine
        try:
            card = train_classifier(trials[name], lambda text: ray.get(lines.add.remote(f"{name}: {text}")))
        except CxrRayError as error:
            return {"problem": str(error)}
        return {column: card.metrics.get(column) for column in ("epoch", *COLUMNS)} | {"model_id": card.model_id}

    return trial


def named_recipes(paths: Sequence[str]) -> dict[str, str]:
    """Map the name of each recipe, which is its file's name without the suffix, to the path of the recipe.

    Raises:
        ConfigError: if two recipes have the same name.
    """
    names = [Path(path).stem for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"sweep names {', '.join(repeated)} twice; rename one of the files")
    return dict(zip(names, paths, strict=True))


def recipe_config(argv: Sequence[str], path: str, name: str, output_uri: str) -> TrainClassifierConfig:
    """Make the config of one recipe: the command line with the recipe at `path`, and the output `output_uri`/`name`."""
    config = load_config(TrainClassifierConfig, [*argv, "--config", path, "--sweep"])
    return replace(config, output_uri=join_uri(output_uri, name))


def trials_at_once(configs: Sequence[TrainClassifierConfig]) -> int:
    """Number of trials that fit on the cluster together, if each needs as many workers as the largest trial.

    Raises:
        ClusterError: if the cluster cannot hold even the largest trial alone.
    """
    workers = max(config.worker_range[0] for config in configs)
    use_gpu = any(config.use_gpu for config in configs)
    nodes = possible_nodes(for_gpus=use_gpu)
    cpus = cpus_per_worker(nodes, workers, use_gpu=use_gpu, minimum=workers)
    return worker_slots(nodes, cpus, use_gpu=use_gpu) // workers


def comparison(rows: Sequence[dict[str, Any]]) -> str:
    """Format a table for the terminal with one line per recipe; `rows` are those of `sweep_classifiers`."""
    width = max(len("recipe"), *(len(row["recipe"]) for row in rows))
    lines = [f"{'recipe':<{width}}  epoch  accuracy  macro F1   AUROC    loss"]
    for row in rows:
        if row["model_id"] is None:
            lines.append(f"{row['recipe']:<{width}}  failed")
        else:
            values = "".join(f"{'-':>10}" if row[name] is None else f"{row[name]:>10.4f}" for name in COLUMNS)
            lines.append(f"{row['recipe']:<{width}}  {row['epoch']:>5}{values}")
    return "\n".join(lines)
