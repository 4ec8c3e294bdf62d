import os
import time

from cxr_ray.cluster.worker_lines import MOST_FILES, MOST_LINES, RECENT_SECONDS, last_lines

JOB = "01000000"


def test_the_last_lines_of_the_workers_of_a_job_are_read(tmp_path):
    lines = [
        ":job_id:01000000",
        ":actor_name:MapWorker",
        *map(str, range(100)),
        "Fatal Python error: Segmentation fault",
        "",
    ]
    (tmp_path / f"worker-aa-{JOB}-11.err").write_text("\n".join(lines))
    (tmp_path / f"worker-aa-{JOB}-11.out").write_text(":job_id:01000000\n")
    (tmp_path / "worker-bb-02000000-12.err").write_text("of another job")
    (tmp_path / "raylet.err").write_text("of Ray itself")
    old = tmp_path / f"worker-cc-{JOB}-13.err"
    old.write_text("of an hour ago")
    os.utime(old, (time.time() - 2 * RECENT_SECONDS,) * 2)
    ((name, text),) = last_lines(tmp_path, JOB).items()
    assert name == f"worker-aa-{JOB}-11.err"
    assert text.endswith("Segmentation fault")
    assert len(text.splitlines()) == MOST_LINES


def test_of_many_workers_the_latest_are_read(tmp_path):
    for number in range(3 * MOST_FILES):
        file = tmp_path / f"worker-{number:02}-{JOB}-1.err"
        file.write_text("\xff" * 10_000)
        os.utime(file, (time.time() - number,) * 2)
    found = last_lines(tmp_path, JOB)
    assert [name[7:9] for name in found] == [f"{number:02}" for number in range(MOST_FILES)]
