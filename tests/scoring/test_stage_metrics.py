import pyarrow as pa

from cxr_ray.scoring.stage_metrics import statuses_of


def test_rows_are_counted_by_status_and_kind_of_error():
    rows = pa.table({"status": ["ok", "error", "ok", "empty"], "error_kind": [None, "truncated", None, None]})
    assert statuses_of(rows) == {("ok", ""): 2, ("error", "truncated"): 1, ("empty", ""): 1}
