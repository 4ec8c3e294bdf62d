"""Import timm and torchvision without torch's compiler, which costs each process three seconds and stays unused."""

import importlib
import sys
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"


def import_without_compiler(name: str) -> Any:
    """Import a module, or return it if it is loaded, and keep it from loading `torch._dynamo` with itself.

    torchvision (RoI align) and timm (NaFlexViT) name two functions of `torch._dynamo` when they are imported, and call
    them only in compiled or deterministic models. Stand-ins give them those two functions during the import: the first
    loads `torch._dynamo` when it is called, and the second leaves NaFlexViT's functions unchanged.

    Args:
        name: full name of the module, such as "timm".
    """
    if name in sys.modules or COMPILER in sys.modules:
        return importlib.import_module(name)
    compiler, utils = ModuleType(COMPILER), ModuleType(f"{COMPILER}.utils")
    compiler.disable = _unchanged  # type: ignore[attr-defined]
    utils.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    importlib.import_module("torch")
    stand_ins = {module.__name__: module for module in (compiler, utils)}
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module(name)
    finally:
        for stand_in in stand_ins:
            del sys.modules[stand_in]


def _unchanged(function: Any = None, *_: object, **__: object) -> Any:
    return function if function is not None else _unchanged


def _is_compile_supported(device_type: str) -> Any:
    from torch._dynamo.utils import is_compile_supported

    return is_compile_supported(device_type)
