"""Find the outputs of jobs in the listing of an archive, so that no job takes their files for images of the archive."""

import logging
import os
from collections import deque
from collections.abc import Iterator
from itertools import islice

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.archive.kept_log import LOGS_FOLDER
from cxr_ray.archive.listing import ListedObject, list_objects
from cxr_ray.archive.run_record import RECORD_NAME, is_run_record
from cxr_ray.archive.uris import exists, is_local, join_uri, open_filesystem
from cxr_ray.errors import ConfigError

log = logging.getLogger("cxr_ray")

STATE_FOLDER = "_state"
"""Folder in which a job that scores or trains keeps its working files; it is there before the first result."""
PARTS_OF_OUTPUTS = frozenset(
    {
        *(STATE_FOLDER, "overlays", "saliency", "uncertainty", "dicom_seg", "tensorboard", "columns", "thumbnails"),
        *("confusion_matrix.png", "segmentations.png"),
    }
)
"""Folders and pictures that jobs write into an output."""
FILES_OF_OUTPUTS = dict.fromkeys(("predictions", "embeddings", "masks", "scores"), ".parquet") | {LOGS_FOLDER: ".jsonl"}
"""Folders of an output whose files of a suffix are its rows or logs; an archive may have folders of the same names."""
LOOKAHEAD = 4096
"""Objects that are listed ahead to find the files that mark an output; a larger folder is asked for them by name."""
NAMED = 5
"""Outputs that the log names."""


class PassedOutputs:
    """The outputs of jobs that a listing passed over."""

    def __init__(self) -> None:
        self.files = 0
        self._folders, self._named = 0, list[str]()
        self._last, self._is_root_one = "", False

    def add(self, folder: str) -> None:
        """Count a file of the output `folder`, which is empty for the listed folder itself.

        The files of an output follow each other, but other outputs may lie between those of the listed folder.
        """
        self.files += 1
        is_counted = folder == self._last if folder else self._is_root_one
        if is_counted:
            return
        self._folders += 1
        self._named += [folder or "."][: NAMED - len(self._named)]
        if folder:
            self._last = folder
        else:
            self._is_root_one = True

    def log(self, uri: str) -> None:
        """Write one line that counts the files and names the outputs, if there are any."""
        if self.files:
            more = f" and {self._folders - len(self._named):,} more" if self._folders > len(self._named) else ""
            names = ", ".join(self._named)
            log.info("%s files in outputs of jobs below %s were passed over: %s%s", f"{self.files:,}", uri, names, more)


def list_archive(uri: str) -> Iterator[ListedObject]:
    """Stream the objects under `uri` that belong to no output of a job; a line in the log counts the others.

    The order and the errors are those of `list_objects`.
    """
    passed = PassedOutputs()
    for entry, output in list_with_outputs(uri):
        if output is None:
            yield entry
        else:
            passed.add(output)
    passed.log(uri)


def list_with_outputs(uri: str) -> Iterator[tuple[ListedObject, str | None]]:
    """Stream the objects under `uri`, each with the output folder of a job that it lies in, or None.

    A folder below `uri` is an output if it holds a folder `_state` or the `run.json` of a job. To it belong the files
    directly in it, and the folders that jobs write; images in other folders beside these stay. Of an output that is `uri`
    itself, only what jobs write belongs to it.
    Objects of zero bytes that have the name of a folder, which some programs write into S3, are left out.

    The order and the errors are those of `list_objects`; memory does not grow with the number of objects.
    """
    listing = _Listing(uri)
    while entry := listing.head():
        if not listing.is_folder_mark(entry):
            yield entry, listing.output_around(entry)
        listing.advance()


class _Listing:
    """A listing with the next objects at hand, and what is known of the folders around the first of them."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._source = list_objects(uri)
        self._ahead: deque[ListedObject] = deque()
        self._is_whole = False
        self._is_output: dict[str, bool] = {}
        self._root_is_output: bool | None = None
        self._parent: str | None = None
        self._output: str | None = None

    def head(self) -> ListedObject | None:
        """The next object; None at the end."""
        if len(self._ahead) < LOOKAHEAD and not self._is_whole:
            self._ahead.extend(islice(self._source, LOOKAHEAD))
            self._is_whole = len(self._ahead) < LOOKAHEAD
        return self._ahead[0] if self._ahead else None

    def advance(self) -> None:
        """Go on to the object after the head."""
        self._ahead.popleft()

    def is_folder_mark(self, entry: ListedObject) -> bool:
        """Whether the head is an object of zero bytes named like a folder; names from it to those in the folder begin with its name."""
        if entry.size_bytes:
            return False
        for later in islice(self._ahead, 1, None):
            if not later.name.startswith(entry.name):
                return False
            if later.name.startswith(f"{entry.name}/"):
                return True
        return False

    def output_around(self, entry: ListedObject) -> str | None:
        """The outermost output folder of a job to which the head belongs, as a name below the listed URI, or None."""
        top, slash, below = entry.name.partition("/")
        if (top in PARTS_OF_OUTPUTS or _is_file_of_output(top, below)) and self._root_is_one(top):
            return ""
        if not slash:
            return None
        parent = entry.name.rpartition("/")[0]
        if parent != self._parent:
            self._parent, self._output = parent, self._find_output(entry.name)
        return self._output

    def _find_output(self, name: str) -> str | None:
        known: dict[str, bool] = {}
        output = None
        for end in (position for position, letter in enumerate(name) if letter == "/"):
            folder = name[:end]
            known[folder] = self._is_output[folder] if folder in self._is_output else self._holds_marks(folder)
            if known[folder] and _is_written(name[end + 1 :]):
                output = folder
                break
        self._is_output = known  # only the folders around the head can be asked for again, because names are sorted
        return output

    def _root_is_one(self, top: str) -> bool:
        """Whether the listed URI is an output itself; `top` is the first step of the head's name."""
        if self._root_is_output is None:
            self._root_is_output = top == STATE_FOLDER or self._has_marks(self._uri)
        return self._root_is_output

    def _holds_marks(self, folder: str) -> bool:
        """Whether a folder that begins with the head is the output of a job."""
        start = f"{folder}/"
        for entry in self._ahead:
            if not entry.name.startswith(start):
                return False
            below = entry.name[len(start) :]
            if below.startswith(f"{STATE_FOLDER}/") or (below == RECORD_NAME and _is_record(entry.uri)):
                return True
        return not self._is_whole and self._has_marks(join_uri(self._uri, folder))

    @staticmethod
    def _has_marks(uri: str) -> bool:
        record = join_uri(uri, RECORD_NAME)
        return exists(join_uri(uri, STATE_FOLDER)) or (exists(record) and _is_record(record))


def _is_record(uri: str) -> bool:
    (fetched,) = fetch_objects([uri])
    if fetched.data is None:
        log.warning("its folder is taken for images of the archive, not for the output of a job: %s", fetched.error)
    return is_run_record(fetched.data or b"")


def require_other_place(output_uri: str, **inputs: str) -> None:
    """Refuse an output that is the folder of an input, where the next run would find the results of this one.

    Args:
        output_uri: the output of a job.
        inputs: URIs that the job reads, by the name of the option.

    Raises:
        ConfigError: if the output and an input are one place, however their URIs are written.
    """
    place = _place(output_uri)
    for name, uri in inputs.items():
        if _place(uri) == place:
            raise ConfigError(f"output_uri must be another folder than {name}; got {output_uri!r} for both")


def _place(uri: str) -> tuple[str, str]:
    fs, path = open_filesystem(uri)
    return fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0], (
        os.path.realpath(path) if is_local(fs) else path.rstrip("/")
    )


def _is_written(name: str) -> bool:
    """Whether a file of an output, by its name below it, is one that jobs write."""
    top, slash, below = name.partition("/")
    return not slash or top in PARTS_OF_OUTPUTS or _is_file_of_output(top, below)


def _is_file_of_output(top: str, below: str) -> bool:
    return top in FILES_OF_OUTPUTS and below.endswith(FILES_OF_OUTPUTS[top])
