import pytest

from cxr_ray.scoring import progress
from cxr_ray.scoring.progress import Counter, Progress, progress_line


@pytest.fixture
def clock(monkeypatch):
    """A list whose first value is the time in seconds that `time.monotonic` returns."""
    seconds = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def line_of(counter, *, left, done=0):
    images, errors, rate = counter.read()
    return progress_line(Progress(images=done + images, total=done + left, errors=errors, images_per_second=rate))


def test_the_rate_counts_from_the_start_of_the_first_batch(clock):
    counter = Counter()
    clock[0] += 60
    assert counter.read() == (0, 0, None), "starting the workers is not part of the rate"
    clock[0] += 4
    counter.add(32, 1, seconds=4.0)
    assert counter.read() == (32, 1, 8.0), "the first finished block has a rate"
    clock[0] += 2
    counter.add(16, 0, seconds=2.0)
    assert counter.read() == (48, 1, 8.0)
    clock[0] += 6
    assert counter.read() == (48, 1, 4.0), "a job that waits gets slower"


def test_a_line_shows_a_rate_and_the_time_left_as_soon_as_images_are_done(clock):
    counter = Counter()
    assert line_of(counter, left=2000) == "0/2,000 images  waiting for the first batch  0 errors"
    clock[0] += 5
    counter.add(20, 3, seconds=2.0)
    assert line_of(counter, left=2000) == "20/2,000 images  10.0 img/s  3 errors  3.3 min left"


def test_a_resumed_job_counts_earlier_images_as_done_but_not_in_its_rate(clock):
    counter = Counter()
    assert line_of(counter, left=200, done=800) == "800/1,000 images  waiting for the first batch  0 errors"
    clock[0] += 5
    counter.add(20, 0, seconds=5.0)
    assert line_of(counter, left=200, done=800) == "820/1,000 images  4.0 img/s  0 errors  45 s left"


@pytest.mark.parametrize(
    ("rate", "shown"), [(123.45, "123.5 img/s"), (0.1, "0.1 img/s"), (0.05, "3 img/min"), (0.0004, "0.024 img/min")]
)
def test_a_slow_rate_is_never_shown_as_zero(rate, shown):
    assert Progress(images=1, total=9, errors=0, images_per_second=rate).rate() == shown


@pytest.mark.parametrize(
    ("left", "shown"), [(0, "0 s left"), (100, "100 s left"), (600, "10.0 min left"), (72_000, "20.0 h left")]
)
def test_time_left_has_a_unit_that_fits(left, shown):
    assert Progress(images=5, total=5 + left, errors=0, images_per_second=1.0).time_left() == shown


def test_a_batch_that_took_no_time_has_a_finite_rate(clock):
    counter = Counter()
    counter.add(8, 0, seconds=0.0)
    assert counter.read()[2] == 8000


def test_a_job_in_which_nothing_moves_says_what_it_waits_for(clock):
    counter, span = Counter(), ("scoring", "a.png", "b.png", 64)

    def stillness():
        seconds, oldest = counter.still()
        return Progress(
            images=0, total=9, errors=0, images_per_second=None, still_seconds=seconds, oldest=oldest
        ).stillness()

    clock[0] += 299
    assert stillness() == ""
    clock[0] += 61
    assert stillness() == "nothing moved for 6 min: no worker has work: waiting for free nodes, or for storage"
    counter.begin(span)
    counter.begin(("loading", "c.png", "d.png", 2))
    assert stillness() == ""
    clock[0] += 5400
    assert stillness() == "nothing moved for 90 min: scoring 'a.png' to 'b.png' (64 images)"
    counter.end(span)
    clock[0] += 600
    assert stillness() == "nothing moved for 10 min: loading 'c.png' to 'd.png' (2 images)"


def test_what_was_begun_again_is_in_progress_until_it_ends():
    counter, span = Counter(), ("loading", "a", "b", 2)
    for _ in range(3):
        counter.begin(span)
    assert counter.in_progress() == ({span: 3}, [])
    counter.end(span)
    counter.end(span)
    assert counter.in_progress() == ({}, [])


def test_a_piece_takes_a_minute_of_an_actor_and_stays_the_same_for_its_block():
    counter, first, second = Counter(), ("loading", "a", "b", 64), ("loading", "c", "d", 64)
    assert counter.piece_rows(first, 2) == 2, "one batch, until the rate is known"
    counter.add(2, 0, seconds=170.0)
    assert counter.piece_rows(second, 2) == 2, "a batch that takes three minutes is a piece"
    fast = Counter()
    fast.add(32, 0, seconds=1.6)
    fast.add(32, 0, seconds=1.6)  # two actors at the same time
    assert fast.piece_rows(first, 32) == 20 * 60 // 32 * 32
    fast.add(32, 0, seconds=160.0)
    assert fast.piece_rows(first, 32) == 20 * 60 // 32 * 32, "the block may be loaded again"


def test_rows_are_counted_by_status_and_loaded_images_wait_until_they_are_scored(clock):
    counter = Counter()
    assert counter.counts() == ({}, 0)
    counter.note_loaded(64, 1.0, 4096)
    counter.add(32, 2, seconds=1.0)
    counter.note_scored({("ok", ""): 30, ("error", "truncated"): 1, ("error", "empty"): 1}, 32, 1.0)
    counter.note_scored({("ok", ""): 1}, 32, 1.0)
    assert counter.counts() == ({"ok": 31, "error": 2, "error:truncated": 1, "error:empty": 1}, 32)
    counter.note_scored({("unfinished", ""): 4}, 32, 1.0)
    assert counter.counts()[0]["ok"] == 31, "they are counted when they are finished"
    counter.note_finished({("ok", ""): 3, ("empty", ""): 1})
    assert counter.counts()[0] == {"ok": 34, "empty": 1, "error": 2, "error:truncated": 1, "error:empty": 1}
    counter.add(64, 0, seconds=1.0)
    assert counter.counts()[1] == 0, "a lost worker may have loaded images that were not counted"


def test_a_warning_of_several_workers_is_kept_once():
    counter = Counter()
    for line in ("a", "b", "a"):
        counter.warn(line)
    assert counter.warnings() == ["a", "b"]
