"""Reading of the files `benchmark.json` that `benchmark_scoring.py` writes, on this machine or another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from cxr_ray.archive.uris import read_bytes
from cxr_ray.errors import DatasetError

Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class _Rates:
    forward_only: Positive


@dataclass(frozen=True, kw_only=True)
class ScoringBenchmark:
    """What a plan needs of a `benchmark.json`; the fields are those that `benchmark_scoring` documents."""

    model_id: str
    preprocessing_id: str
    device: Literal["cpu", "cuda"]
    cpus: Annotated[int, Field(ge=1)]
    start_seconds: Annotated[float, Field(ge=0)]
    images_per_second: _Rates


def read_benchmarks(uris: Sequence[str]) -> list[ScoringBenchmark]:
    """Read files `benchmark.json`.

    Raises:
        DatasetError: if a file is not what `benchmark_scoring.py` writes; the message names the first fault.
        StorageError: if a file does not exist or cannot be read.
    """
    return [_read(uri) for uri in uris]


def _read(uri: str) -> ScoringBenchmark:
    try:
        return TypeAdapter(ScoringBenchmark).validate_json(read_bytes(uri))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DatasetError(
            f"{uri} is no result of benchmark_scoring.py: {where}: {first['msg'].lower()}; "
            "name a benchmark.json, and measure again if an earlier version wrote it"
        ) from error


def forward_seconds(
    benchmarks: Sequence[ScoringBenchmark], models: Sequence[tuple[str, str]]
) -> dict[Literal["cpu", "cuda"], float]:
    """Add up what the forward passes of all models cost per image on each device of the benchmarks.

    Args:
        benchmarks: the benchmarks, in any order.
        models: id and preprocessing id of each model.

    Returns:
        Seconds of one core per image for `cpu`, and seconds of one GPU per image for `cuda`; only devices that occur.

    Raises:
        DatasetError: if a benchmark is of another model, or a model has not exactly one benchmark on each device.
    """
    for benchmark in benchmarks:
        if (benchmark.model_id, benchmark.preprocessing_id) not in models:
            raise DatasetError(
                f"a benchmark is of {benchmark.model_id} with preprocessing {benchmark.preprocessing_id}, which is none of "
                "the models of this plan; name the benchmarks of --model-uri"
            )
    seconds: dict[Literal["cpu", "cuda"], float] = {}
    for device in sorted({benchmark.device for benchmark in benchmarks}):
        found = {(b.model_id, b.preprocessing_id): b for b in benchmarks if b.device == device}
        if len(found) != len(models) or len(found) < sum(b.device == device for b in benchmarks):
            raise DatasetError(
                f"{len(models)} models need one benchmark each on {device}; got {len(found)} models in "
                f"{sum(b.device == device for b in benchmarks)} files"
            )
        units = ((b.cpus if device == "cpu" else 1) / b.images_per_second.forward_only for b in found.values())
        seconds[device] = sum(units)
    return seconds
