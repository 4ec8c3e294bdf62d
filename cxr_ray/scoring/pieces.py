"""Hand loaded images to the actors in pieces that take about a minute to score, so that rows are committed that often.

Ray Data by itself joins what a load task yields to blocks of 128 MiB. A batch of segmentation by text takes minutes on
a CPU, so such a block would take hours, and a job that ends before loses them all.
"""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.data._internal.execution.operators.map_operator import MapOperator
from ray.data._internal.logical.interfaces import PhysicalPlan, Rule
from ray.data._internal.logical.optimizers import get_physical_ruleset
from ray.data._internal.logical.rules import FuseOperators
from ray.data._internal.output_buffer import OutputBlockSizeOption

from cxr_ray.scoring.lost_workers import span_of
from cxr_ray.scoring.stages.load import Geometry, LoadStage

PIECE_BYTES = 128 * 2**20
"""Maximum size of the pixels of a piece in memory, which is Ray Data's own maximum size of a block."""


def most_rows(geometries: Sequence[Geometry]) -> int:
    """Number of images of a piece whose pixels in these geometries fit in `PIECE_BYTES`.

    It depends on no image, so that a block that is loaded again gets the same pieces.
    """
    return max(1, PIECE_BYTES // sum(geometry.image_size**2 for geometry in geometries))


class PiecedLoad:
    """A `LoadStage` that yields pieces, and tells a tally which images it is about to load, and when they are loaded.

    Args:
        load: the stage.
        tally: actor that keeps the images in progress and measures the rate, which decides the size of a piece.
        batch_size: number of images of a batch of the stage that follows; a piece holds whole batches.
        most: maximum number of images of a piece.
    """

    def __init__(self, load: LoadStage, tally: ActorHandle, *, batch_size: int, most: int) -> None:
        self._load, self._tally, self._batch_size, self._most = load, tally, batch_size, most

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Load the images of a block, as `LoadStage` does; the pieces of a block have one number of rows."""
        span = span_of("loading", block)
        asked = self._tally.begin.remote(span), self._tally.piece_rows.remote(span, self._batch_size)
        _, rows = ray.get(list(asked))  # this process may end at the first image
        yield from in_pieces(self._load(block), min(rows, self._most))
        self._tally.end.remote(span)


def in_pieces(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Divide a stream of tables anew into tables of `rows` rows.

    Args:
        tables: tables of one schema.
        rows: number of rows of a piece, 1 or more; the last piece may have fewer.
    """
    held: pa.Table | None = None
    for table in tables:
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if held is not None and held.num_rows:
        yield held


class PiecesKept(Rule):
    """A rule of Ray Data's optimizer by which each piece of `PiecedLoad` leaves its task as a block of its own, at once."""

    @classmethod
    def dependencies(cls) -> list[type[Rule]]:
        """Name the rules that go before: those that join the reading of blocks with their loading."""
        return [FuseOperators]

    def apply(self, plan: PhysicalPlan) -> PhysicalPlan:
        """Return the plan, in which the loading no longer joins its tables to larger blocks."""
        for operator in plan.dag.post_order_iter():
            if isinstance(operator, MapOperator) and PiecedLoad.__name__ in operator.name:
                last = operator.get_map_transformer().get_transform_fns()[-1]
                last._output_block_size_option = OutputBlockSizeOption.of(disable_block_shaping=True)
        return plan


def keep_pieces() -> None:
    """Add `PiecesKept` to the rules of Ray Data in this process, unless it is there."""
    rules = get_physical_ruleset()
    if PiecesKept not in set(rules):
        rules.add(PiecesKept)
