"""Second stage of an embedding job: compute the features of loaded images, in an actor that holds all encoders."""

import numpy as np
import pyarrow as pa

from cxr_ray.models.encoder import Encoder
from cxr_ray.models.engines.engine import EngineName
from cxr_ray.models.precision import Precision
from cxr_ray.schema import LAYER_COLUMN, TOO_LARGE_FOR_FLOAT16, embedding_column, embeddings_schema
from cxr_ray.scoring.stages.model_outputs import model_prefixes, outputs_of, provenance_of, refuse_not_finite


class EmbedStage:
    """One copy of the encoders on one device, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Args:
        model_uris: URIs of the bundles of encoders or classifiers, 1 or more.
        layer: layer of each encoder whose features are the embedding, see `Encoder`.
        sizes: number of features of each encoder.
        device: `cuda` or `cpu`.
        engine: program that computes the forward pass, see `fastest_engine`.
        precision: floating-point precision of the forward pass.
        threads: number of threads of the forward pass on a CPU; a GPU ignores it.
        run_id: id of the run, which is written to every row.
    """

    def __init__(
        self,
        *,
        model_uris: tuple[str, ...],
        layer: str,
        sizes: tuple[int, ...],
        device: str,
        engine: EngineName,
        precision: Precision,
        threads: int,
        run_id: str,
    ) -> None:
        self.encoders = [
            Encoder(uri, layer=layer, device=device, engine=engine, precision=precision, threads=threads)
            for uri in model_uris
        ]
        self.cards = [encoder.card for encoder in self.encoders]
        self.prefixes = model_prefixes([card.backbone for card in self.cards])
        self.layer, self.sizes = layer, sizes
        self.schema = embeddings_schema(sizes, self.prefixes)
        self.run_id = run_id

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn N rows of `LoadStage` into N rows of `schema.embeddings_schema`; embeddings of error rows are null."""
        batch, features, present = refuse_not_finite(batch, *outputs_of(batch, self.encoders, self.sizes))
        with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, and its row an error
            halves = [values.astype(np.float16) for values in features]
        batch, vectors, present = refuse_not_finite(batch, halves, present, TOO_LARGE_FOR_FLOAT16)
        columns = {name: batch[name] for name in batch.column_names}
        columns |= provenance_of(self.encoders, self.run_id, batch.num_rows)
        columns[LAYER_COLUMN] = pa.array([self.layer] * batch.num_rows)
        for prefix, card, values in zip(self.prefixes or ("",), self.cards, vectors, strict=True):
            columns[embedding_column(prefix)] = _vector_column(values, present)
            if prefix:
                columns[f"{prefix}model_id"] = pa.array([card.model_id] * batch.num_rows)
        empty = pa.nulls(batch.num_rows)
        return pa.table([columns.get(field.name, empty).cast(field.type) for field in self.schema], schema=self.schema)


def _vector_column(vectors: np.ndarray, present: np.ndarray) -> pa.FixedSizeListArray:
    """Put vectors float16 [K, D] at the K positions where `present` [N] is true; the other lists are null."""
    size = vectors.shape[1]
    rows = vectors
    if not present.all():
        rows = np.zeros((len(present), size), np.float16)
        rows[present] = vectors
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), size, mask=pa.array(~present))
