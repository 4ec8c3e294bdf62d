"""End a job: check that every image has one row, write `run.json`, and check the fraction of errors."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from cxr_ray.archive.id_accounts import repeated_ids
from cxr_ray.archive.reconcile import Account, reconcile
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.config import ArchiveJobConfig
from cxr_ray.config.redaction import redacted
from cxr_ray.errors import GateError, StorageError
from cxr_ray.scoring.output.state import OutputState, drop_repeated_rows, finished_ids, settle


def conclude(
    state: OutputState,
    config: ArchiveJobConfig,
    manifest_uri: str,
    *,
    scored: int,
    before: int,
    seconds: float,
    pool: Any,
    **facts: Any,
) -> dict[str, int]:
    """Reconcile the rows of the output with its manifest, write `run.json` and print a summary.

    Args:
        state: the output.
        config: the config of the job, which `run.json` records.
        manifest_uri: URI of the manifest of all images.
        scored: images that this run scored.
        before: images that earlier runs scored.
        seconds: duration of scoring in this run, in seconds.
        pool: dataclass of the actors and CPUs that the job used, which `run.json` records.
        facts: further entries of `run.json`.

    Returns:
        The number of rows by status, and of error rows by `error:KIND`.

    Raises:
        StorageError: if an image of the manifest has no row.
        GateError: if the fraction of images that are errors exceeds `max_error_rate`.
    """
    settle(state)
    account = reconcile(manifest_uri, state.rows_uri)
    if account.double.count:  # a killed run committed a last block while this one was planned
        drop_repeated_rows(state, repeated_ids(finished_ids(state)))
        account = reconcile(manifest_uri, state.rows_uri)
    counts = account.statuses | {f"error:{kind}": rows for kind, rows in account.errors.items()}
    rate = scored / seconds if scored and seconds > 0 else 0.0
    folder, _, name = state.record_uri.rpartition("/")
    write_run_record(
        folder,
        config,
        name=name,
        **facts,
        pool=dataclasses.asdict(pool),
        finished=datetime.now(UTC),
        seconds=round(seconds, 2),
        images_per_second=round(rate, 2),
        images_scored=scored,
        images_done_before=before,
        counts=counts,
    )
    _print_summary(state, counts, rows=account.rows, scored=scored, seconds=seconds, rate=rate)
    _check_outcome(state, account, config.max_error_rate)
    return counts


def _check_outcome(state: OutputState, account: Account, max_error_rate: float) -> None:
    if missing := account.missing.count:
        raise StorageError(
            f"{state.rows_uri} has no row of {missing:,} images, such as {account.missing.first[0]!r}: another program "
            "wrote or removed files there; run the same command again to add the missing rows, or add --overwrite to "
            "start over"
        )
    rows, errors = account.rows, account.statuses.get("error", 0)
    if errors > max_error_rate * rows:
        raise GateError(
            f"{errors:,} of {rows:,} images are errors ({errors / rows:.1%}), "
            f"more than --max-error-rate {max_error_rate:g}; "
            f"all rows are in {state.rows_uri}: read the columns error_kind and error there, then fix the images or "
            "raise --max-error-rate"
        )


def _print_summary(
    state: OutputState, counts: dict[str, int], *, rows: int, scored: int, seconds: float, rate: float
) -> None:
    kinds = ", ".join(f"{n:,} {key.removeprefix('error:')}" for key, n in sorted(counts.items()) if ":" in key)
    statuses = ", ".join(f"{n:,} {key}" for key, n in sorted(counts.items(), reverse=True) if ":" not in key)
    print(f"{rows:,} rows in {redacted(state.rows_uri)}: {statuses}" + (f" ({kinds})" if kinds else ""))
    if scored:
        print(f"{scored:,} images scored in {seconds:,.1f} s: {rate:,.1f} images/s, start of the workers included")
