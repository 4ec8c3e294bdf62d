"""Unpickle the tensors of a file of torch.save; every class that torch does not know becomes a stand-in that does nothing.

torch reads with `weights_only=True`, so no code of the file runs. Training scripts put options (`argparse.Namespace`),
NumPy scalars and paths beside the tensors, which torch refuses; here they are read as inert objects.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pickle import UnpicklingError
from typing import Any

PICKLES_OF_A_LEGACY_FILE = 4
"""Pickles at the start of a file that torch wrote before 1.6: magic number, version, system, and the object."""

ZIP_START = b"PK\x03\x04"


class StandIn:
    """An object of a class that torch does not know; it keeps the state that the file gives it, and does nothing.

    Attributes:
        made_of: full name of the class or function in the file, such as `argparse.Namespace`.
        state: what the file sets on the object, or None.
    """

    made_of = ""
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "StandIn":
        """Take any arguments, and ignore them."""
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Keep the state, without setting attributes."""
        self.state = state


def load_inert(data: bytes) -> Any:
    """Read the object in a file of torch.save onto the CPU, with a `StandIn` in place of every unknown object.

    Raises:
        UnpicklingError: if the file names a module that torch blocks (`os`, `sys`), or uses an instruction that torch
            does not allow.
        Exception: what `torch.load` raises for a damaged file.
    """
    import torch

    names = _globals_of(data)
    try:
        with torch.serialization.safe_globals([(_stand_in(name), name) for name in names]):
            return torch.load(BytesIO(data), "cpu", weights_only=True)
    except UnpicklingError:  # torch lets a file fill only dicts, so a subclass of dict needs a dict as its stand-in
        with torch.serialization.safe_globals(
            [(_stand_in(name) if name.startswith("numpy.") else _dict_stand_in(name), name) for name in names]
        ):
            return torch.load(BytesIO(data), "cpu", weights_only=True)


def _globals_of(data: bytes) -> list[str]:
    """Full names of the classes and functions in a file of torch.save that torch does not know."""
    import torch

    if data.startswith(ZIP_START):  # as torch recognises it; zipfile reads the end, which may be damaged
        return torch.serialization.get_unsafe_globals_in_checkpoint(BytesIO(data))
    file, names = BytesIO(data), set()
    for _ in range(PICKLES_OF_A_LEGACY_FILE):
        names |= {_full_name(str(arg)) for opcode, arg, _ in pickletools.genops(file) if opcode.name == "GLOBAL"}
    known = torch._weights_only_unpickler._get_allowed_globals()
    return [name for name in names if name not in known]


def _full_name(argument: str) -> str:
    """Name in Python 3 of what the instruction GLOBAL loads: `builtins.print` for `__builtin__ print`."""
    from torch._utils import IMPORT_MAPPING, NAME_MAPPING

    module, _, name = argument.partition(" ")
    return ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))


def _stand_in(name: str) -> type[StandIn]:
    return type("StandIn", (StandIn,), {"made_of": name})


def _dict_stand_in(name: str) -> Callable[..., Any]:
    """A stand-in whose instances are empty dicts, which the file can fill."""

    def made(_: Any, *__: Any) -> Any:
        return OrderedDict()

    return type("DictStandIn", (), {"made_of": name, "__new__": made})
