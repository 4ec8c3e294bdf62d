"""The files that travel with a job to a cluster: code and recipes, never data or results."""

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cxr_ray.errors import ConfigError

MOST_BYTES = 50_000_000
"""Maximum number of bytes that travel; the code has about one MB."""


@contextmanager
def working_directory(files: Mapping[str, Path]) -> Iterator[Path]:
    """Copy files into a temporary folder that exists inside the block.

    Args:
        files: path in the folder, and file on this machine.
    """
    with tempfile.TemporaryDirectory(prefix="cxr_ray_submit_") as folder:
        for place, file in files.items():
            copy = Path(folder, place)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        yield Path(folder)


def digest(files: Mapping[str, Path]) -> str:
    """Twelve hex digits that depend on the paths and the content of files, and on nothing else."""
    hashed = hashlib.sha256()
    for place, file in sorted(files.items()):
        hashed.update(f"{place}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()[:12]


def travelling_files(root: Path) -> dict[str, Path]:
    """The files of a folder that `ray job submit --working-dir` uploads: relative path and file, in order of names."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env import packaging

    found: list[Path] = []
    always = packaging._get_excludes(root, get_runtime_env_default_excludes())
    quiet = logging.getLogger("cxr_ray.silent")  # Ray logs a line for each file of patterns
    quiet.disabled = True
    packaging._dir_travel(root, [always], found.append, include_gitignore=True, logger=quiet)
    return {path.relative_to(root).as_posix(): path for path in sorted(found) if path.is_file()}


def check_size(files: Mapping[str, Path]) -> None:
    """Raise a `ConfigError` that names the three largest files if all have more than `MOST_BYTES` bytes together."""
    sizes = {place: file.stat().st_size for place, file in files.items()}
    if (total := sum(sizes.values())) > MOST_BYTES:
        largest = sorted(sizes, key=lambda place: sizes[place], reverse=True)[:3]
        named = ", ".join(f"{place} ({sizes[place] / 1e6:.1f} MB)" for place in largest)
        raise ConfigError(
            f"the working directory has {total / 1e6:.0f} MB, and at most {MOST_BYTES / 1e6:.0f} MB travel with a job; the "
            f"largest files are {named}; move them away, or name them in .rayignore"
        )
