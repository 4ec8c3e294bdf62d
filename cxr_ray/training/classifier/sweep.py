"""Several recipes trained on one dataset, as many at once as the cluster holds, and a table that compares them."""

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import tune
from ray.actor import ActorHandle

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import absolute_uri, join_uri
from cxr_ray.cluster.nodes import alive_nodes
from cxr_ray.cluster.session import ray_session
from cxr_ray.config import TrainClassifierConfig, load_config
from cxr_ray.errors import ConfigError, CxrRayError, TrainingError
from cxr_ray.training.epoch_lines import print_line, reported_epochs
from cxr_ray.training.workers import cpus_per_worker, worker_slots

log = logging.getLogger("cxr_ray")

COLUMNS = ("val_accuracy", "val_macro_f1", "val_auroc", "val_loss")


def sweep_classifiers(argv: Sequence[str]) -> list[dict[str, Any]]:
    """Train every recipe that `--sweep` names into `OUTPUT/NAME`; print and return the comparison, best first.

    Recipes that an earlier run has finished are not trained again; others resume after their last finished epoch.

    Args:
        argv: the command line; its flags override every recipe.

    Raises:
        ConfigError: if a recipe cannot be read, or two recipes have the same name.
        TrainingError: after all recipes have ended, naming those that failed.
    """
    config = load_config(TrainClassifierConfig, argv)
    output_uri = absolute_uri(config.output_uri)
    trials = {name: recipe_config(argv, path, name, output_uri) for name, path in named_recipes(config.sweep).items()}
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # or Tune prints a folder that is gone after the sweep
    with (
        ray_session(),
        tempfile.TemporaryDirectory(prefix="cxr_ray_sweep_") as folder,
        reported_epochs(print_line) as lines,
    ):
        at_once = trials_at_once(list(trials.values()))
        log.info("%s recipes, %s at once", len(trials), at_once)
        tuner = tune.Tuner(
            # A trial only starts workers, which reserve CPUs for themselves; Tune refuses one that reserves nothing.
            tune.with_resources(_trial(trials, lines), {"memory": 1}),
            param_space={"recipe": tune.grid_search(list(trials))},
            tune_config=tune.TuneConfig(max_concurrent_trials=at_once),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = [(result.config["recipe"], result.metrics or {}) for result in tuner.fit()]
    rows = [
        {"recipe": name} | {k: metrics.get(k) for k in ("model_id", "epoch", *COLUMNS)} for name, metrics in results
    ]
    rows.sort(key=lambda row: -(row["val_accuracy"] or 0.0))
    write_table(pa.Table.from_pylist(rows), join_uri(output_uri, "sweep.parquet"))
    write_run_record(output_uri, config, recipes=rows)
    print(comparison(rows))
    if problems := [
        f"{name}: {metrics.get('problem', 'lost')}" for name, metrics in results if "model_id" not in metrics
    ]:
        raise TrainingError("; ".join(problems))
    return rows


def _trial(trials: dict[str, TrainClassifierConfig], lines: ActorHandle) -> Callable[[dict[str, str]], dict[str, Any]]:
    """The function that Tune runs for each recipe; it sends its lines to the driver."""

    def trial(chosen: dict[str, str]) -> dict[str, Any]:
        from cxr_ray.training.classifier.train_classifier import train_classifier

        name = chosen["recipe"]
        try:
            card = train_classifier(trials[name], lambda text: ray.get(lines.add.remote(f"{name}: {text}")))
        except CxrRayError as error:
            return {"problem": str(error)}
        return {column: card.metrics[column] for column in ("epoch", *COLUMNS)} | {"model_id": card.model_id}

    return trial


def named_recipes(paths: Sequence[str]) -> dict[str, str]:
    """Path of each recipe, by the name of its file without the suffix.

    Raises:
        ConfigError: if two recipes have the same name.
    """
    names = [Path(path).stem for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"sweep names {', '.join(repeated)} twice; rename one of the files")
    return dict(zip(names, paths, strict=True))


def recipe_config(argv: Sequence[str], path: str, name: str, output_uri: str) -> TrainClassifierConfig:
    """Config of the command line with the recipe at `path` in place of the sweep; its output is `output_uri`/`name`."""
    config = load_config(TrainClassifierConfig, [*argv, "--config", path, "--sweep"])
    return replace(config, output_uri=join_uri(output_uri, name))


def trials_at_once(configs: Sequence[TrainClassifierConfig]) -> int:
    """Number of trials that fit on the cluster together, if each has as many workers as the largest one.

    Raises:
        ClusterError: if the largest trial does not fit alone.
    """
    nodes = alive_nodes()
    workers = max(config.worker_range[0] for config in configs)
    use_gpu = any(config.use_gpu for config in configs)
    cpus = cpus_per_worker(nodes, workers, use_gpu=use_gpu, minimum=workers)
    return worker_slots(nodes, cpus, use_gpu=use_gpu) // workers


def comparison(rows: Sequence[dict[str, Any]]) -> str:
    """Table of the recipes for the terminal, a line each."""
    width = max(len("recipe"), *(len(row["recipe"]) for row in rows))
    lines = [f"{'recipe':<{width}}  epoch  accuracy  macro F1   AUROC    loss"]
    for row in rows:
        if row["model_id"] is None:
            lines.append(f"{row['recipe']:<{width}}  failed")
        else:
            values = "".join(f"{row[name]:>10.4f}" for name in COLUMNS)
            lines.append(f"{row['recipe']:<{width}}  {row['epoch']:>5}{values}")
    return "\n".join(lines)
