"""The choice of an engine: the fastest one that is there and computes what torch, or the int8 network, computed."""

import logging
from importlib import import_module

from cxr_ray.errors import EngineError
from cxr_ray.models.engines.agreement import require_agreement
from cxr_ray.models.engines.engine import Engine, EngineName, ForwardPass
from cxr_ray.models.precision import Precision

log = logging.getLogger("cxr_ray")

CLASSES = {
    "torch": ("torch_engine", "TorchEngine"),
    "compile": ("compile_engine", "CompileEngine"),
    "openvino": ("openvino_engine", "OpenVinoEngine"),
}
"""Module and class of each engine; only the library of an engine that is tried is loaded."""
FASTEST_FIRST: dict[str, tuple[EngineName, ...]] = {"cpu": ("openvino", "torch"), "cuda": ("compile", "torch")}
"""Engines that `auto` tries by device. CPUs have `compile`, too; it gains less there than OpenVINO, and starts in minutes."""

FASTEST_FOR_FEATURES: dict[str, tuple[tuple[EngineName, Precision], ...]] = {
    "cpu": (("openvino", "auto"), ("openvino", "fp32"), ("torch", "fp32")),
    "cuda": (("compile", "fp16"), ("torch", "fp16"), ("torch", "fp32")),
}
"""The same for features, with the precisions of `auto`: the eight bits of bf16 move the features of a convolutional network by
several percent, which the head of a classifier forgives and a search for neighbours does not."""


def fastest_engine(
    forward: ForwardPass,
    *,
    engine: EngineName = "auto",
    device: str,
    precision: Precision = "auto",
    threads: int | None = None,
) -> Engine:
    """Start the engine that is named; for `auto` the first of `FASTEST_FIRST` that agrees with torch in fp32.

    Engines are checked on this device with `require_agreement`; torch is so only if both its choice and its precision are
    left to `auto`, which then takes fp32 if bf16 disagrees. A line of the log says why `auto` passed an engine over.

    A model with an int8 network is computed by it where OpenVINO is the engine and the precision is `auto`; the network
    must then agree with what it computed where it was made. Else the model's own network is computed, and a line of the
    log says so if `auto` chose the engine.

    Args:
        forward: the model.
        engine: name of the engine.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: precision of the forward pass; `auto` takes the one that suits the engine and the device.
        threads: number of threads on a CPU; None leaves it to the engine.

    Raises:
        EngineError: if the engine that is named is not installed, cannot compute the model, or disagrees with torch.
        BundleError: if the model's bundle is missing or damaged.
    """
    tried = [(engine, precision)] if engine != "auto" else _fastest_first(forward, device.partition(":")[0], precision)
    for (name, asked), following in zip(tried, [*tried[1:], None], strict=True):
        try:
            started = engine_class(name)(forward, device=device, precision=asked, threads=threads)
            if name != "torch" or (following and started.precision != "fp32"):
                require_agreement(started, forward)
        except EngineError as error:
            if following is None:
                raise EngineError(f"{forward.name} cannot be computed by the engine {name}: {error}") from error
            log.warning("%s is not computed by the engine %s: %s", forward.name, name, error)
        else:
            _say_if_not_int8(forward, started, engine, precision)
            return started
    raise AssertionError("torch is tried last and computes every model")


def _say_if_not_int8(forward: ForwardPass, started: Engine, engine: EngineName, precision: Precision) -> None:
    if forward.int8 is not None and (engine, precision) == ("auto", "auto") and started.precision != "int8":
        log.warning(
            "the int8 network of %s, which only OpenVINO on CPUs computes, is not used: %s computes the original in %s",
            forward.name,
            started.name,
            started.precision,
        )


def _fastest_first(forward: ForwardPass, device: str, precision: Precision) -> list[tuple[EngineName, Precision]]:
    """Engines to try for `auto`, each with the precision to ask it for."""
    if precision != "auto":
        return [(name, precision) for name in FASTEST_FIRST[device]]
    if forward.outputs == "features":
        return list(FASTEST_FOR_FEATURES[device])
    return [*((name, precision) for name in FASTEST_FIRST[device]), ("torch", "fp32")]


def engine_class(name: str) -> type[Engine]:
    """The class of the engine `name`; loads its library."""
    module, kind = CLASSES[name]
    found: type[Engine] = getattr(import_module(f"cxr_ray.models.engines.{module}"), kind)
    return found
