from cxr_ray.scoring.watched_run import progress_of


def test_a_record_that_is_renewed_counts_earlier_runs_as_done():
    progress = progress_of(20, 4.056, {"ok": 19, "error": 1}, left=100, done=900)
    assert progress == {
        "images_total": 1000,
        "images_done": 920,
        "images_per_second": 4.06,
        "counts_so_far": {"ok": 19, "error": 1},
    }
    assert progress_of(0, None, {}, left=1, done=0)["images_per_second"] is None
