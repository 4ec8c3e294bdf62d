"""Config of the job that plans the scoring of an archive, and the machines of its price list."""

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from cxr_ray.config.checks import require
from cxr_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """One kind of machine that an archive could be scored on."""

    name: str
    """Name of the machine in the report."""
    cpus: float
    """Number of CPU cores."""
    gpus: float = 0
    """Number of GPUs; a machine without any computes the models on its cores."""
    dollars_per_hour: float | None = None
    """Price of one machine in dollars per hour; None if it is not known."""
    cpu_factor: float = 1.0
    """Speed of one of its cores, as a multiple of the core that was measured."""
    gpu_factor: float = 1.0
    """Speed of one of its GPUs, as a multiple of the GPU that was measured."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("cpus", "cpu_factor", "gpu_factor"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} of machine {self.name}", value, "> 0 and finite")
        require(self.gpus >= 0 and self.gpus % 1 == 0, f"gpus of machine {self.name}", self.gpus, "a whole number >= 0")
        price = self.dollars_per_hour
        is_price = price is None or 0 <= price < math.inf
        require(is_price, f"dollars_per_hour of machine {self.name}", price, ">= 0 and finite")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig:
    """Say how long scoring an archive takes, how many machines finish it in time and what it costs, from a sample of its images."""

    manifest_uri: str
    """Manifest of the archive: a Parquet file, or a folder of them, with the columns image_id and uri. The columns format
    and size_bytes of index_archive.py divide the images into kinds, and each kind is sampled."""
    model_uri: tuple[str, ...]
    """Bundles to plan for: one or more classifiers as for classify_archive.py, or one segmenter."""
    output_uri: str = ""
    """JSON file to write, with all figures; none by default."""
    benchmark_uri: tuple[str, ...] = ()
    """Files benchmark.json of benchmark_scoring.py, one for each model, whose forward pass and start-up are taken instead
    of measuring them here; they may come from another machine, such as one with a GPU. Loading is measured here."""
    hours: float = 10.0
    """Hours in which the archive has to be finished."""
    sample_images: int = 256
    """Number of images that are measured, or 64 for each model replica of this machine if that is more; rare kinds get
    more than their fraction of it."""
    seed: int = 0
    """Seed of the random sample."""
    batch_size: int | None = None
    """Images per forward pass; if not given, the number that the job chooses."""
    engine: Literal["auto", "torch", "compile", "openvino"] = "auto"
    """Program that computes the models, as for the job; auto takes the fastest one that agrees with torch."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Floating-point precision; auto uses bf16 where the engine and the device support it natively, and fp32 elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that is measured; auto uses a GPU if this machine has one, and the CPU otherwise."""
    machines: dict[str, dict[str, float]] = field(default_factory=dict)
    """Price list. It belongs in a recipe: a table [machines.NAME] with cpus, and optionally gpus, dollars_per_hour,
    cpu_factor and gpu_factor (speed as a multiple of the core or GPU that was measured)."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges, and every machine of the price list."""
        require(bool(self.model_uri), "model_uri", self.model_uri, "at least one model bundle")
        require(0 < self.hours < math.inf, "hours", self.hours, "> 0 and finite")
        require(self.sample_images >= 16, "sample_images", self.sample_images, ">= 16")
        require(self.seed >= 0, "seed", self.seed, ">= 0")
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, ">= 1")
        self.price_list()

    def price_list(self) -> tuple[Machine, ...]:
        """Return the machines of the price list.

        Raises:
            ConfigError: if a machine has an unknown key, lacks `cpus`, or a value is out of range.
        """
        known = {option.name for option in fields(Machine)} - {"name"}
        for name, values in self.machines.items():
            if unknown := sorted(values.keys() - known):
                raise ConfigError(
                    f"machine {name} has an unknown key {unknown[0]!r}; known keys: {', '.join(sorted(known))}"
                )
            require("cpus" in values, f"cpus of machine {name}", None, "given")
        return tuple(Machine(name=name, **values) for name, values in self.machines.items())
