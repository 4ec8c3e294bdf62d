"""Run the product on a cluster of machines that share nothing but a store, while a node joins and another one is lost.

`python -m tests.cluster.whole_cluster` needs root. For `submit.py` and for `ray job submit` it indexes, prepares, trains
with two workers, classifies and segments a drawn archive. A node joins while the first way classifies, and one is lost
while the second way does. It prints a line for each step, the work of each node, and what `reconcile_archive.py` says.
"""

import argparse
import shlex
import sys
import time
from collections import Counter

from tests.cluster.namespaces import why_no_machines
from tests.cluster.token_cluster import WAYS, Submission, TokenCluster, token_cluster

FILL = """
from tests.faults.commands import empty_bucket, random_bundle, write_phantom_archive
empty_bucket("hospital")
empty_bucket("results")
write_phantom_archive("s3://hospital/in", images_per_class={images}, size=64, dicom_fraction=0.2)
random_bundle("s3://results")
"""
"""Program that fills the store: a drawn archive with five broken files, and a bundle of random weights."""
INDEX = "--input-uri s3://hospital/in --output-uri s3://results/{way}/manifest.parquet --exclude */masks/*"
MANIFEST = "--input-uri s3://results/{way}/manifest.parquet"
SCORING = "--rows-per-block 8 --batch-size 8 --max-error-rate 1 --progress-seconds 1"
TRAINING = "--dataset-uri s3://results/{way}/dataset.parquet --num-workers 2 --epochs 2 --batch-size 8"
STEPS = {
    "index_archive": INDEX,
    "prepare_dataset": "--input-uri s3://hospital/in --output-uri s3://results/{way}/dataset.parquet",
    "train_classifier": f"{TRAINING} --backbone efficientnet_b0 --image-size 32 --output-uri s3://results/{{way}}/model",
    "train_segmenter": f"{TRAINING} --filters 4 8 8 --deep-supervision 1 --image-size 32 --cycles 1 --output-uri s3://results/{{way}}/segmenter",
    "classify_archive": f"{MANIFEST} --model-uri s3://results/{{way}}/model --output-uri s3://results/{{way}}/classified {SCORING}",
    "segment_archive": f"{MANIFEST} --model-uri s3://results/{{way}}/segmenter --output-uri s3://results/{{way}}/segmented {SCORING}",
}
"""Flags of each job; `way` is the folder of the results of one way to submit."""
ROWS = {"classify_archive": "classified", "segment_archive": "segmented"}
"""Folder of the rows of each job that scores."""


def fill_store(cluster: TokenCluster, images_per_class: int) -> None:
    """Draw the archive and a bundle of random weights into the store."""
    cluster.desk.check([sys.executable, "-c", FILL.format(images=images_per_class)])


def reconcile(cluster: TokenCluster, way: str, folder: str) -> tuple[int, str]:
    """Set rows of one way to submit against its manifest; returns the exit code of the job and what it said."""
    results = f"s3://results/{way}"
    flags = ["--predictions-uri", f"{results}/{folder}", "--manifest-uri", f"{results}/manifest.parquet"]
    done = cluster.desk.run([sys.executable, "jobs/reconcile_archive.py", *flags])
    return done.returncode, " ".join(done.stdout.split())


def blocks_of_nodes(cluster: TokenCluster) -> dict[str, Counter[str]]:
    """Count the blocks of images that each node loaded and scored in the last job, by Ray's records of its tasks."""
    found: dict[str, Counter[str]] = {"loaded": Counter(), "scored": Counter()}
    for task, nodes in cluster.tasks().items():
        kind = "scored" if task.startswith("MapWorker") and task.endswith("submit") else "loaded"
        if "MapBatches" in task and (kind == "scored" or task.startswith("Read")):
            found[kind].update({cluster.name_of(node): len(seconds) for node, seconds in nodes.items()})
    return found


def workers_of_nodes(cluster: TokenCluster) -> Counter[str]:
    """Add up the seconds of the training workers of each node in the last job, by Ray's records of their tasks."""
    found: Counter[str] = Counter()
    for task, nodes in cluster.tasks().items():
        if "TrainWorker" in task:
            found.update({cluster.name_of(node): round(sum(seconds)) for node, seconds in nodes.items()})
    return found


class Walk:
    """The jobs of both ways on one cluster, with what went wrong.

    Args:
        cluster: a cluster with the nodes `node1` and `node2`, to which `node3` may be added.
    """

    def __init__(self, cluster: TokenCluster) -> None:
        self._cluster = cluster
        self.wrong: list[str] = []

    def run(self, way: str) -> None:
        """Run all jobs, submitted in one of the `WAYS`."""
        folder = way.replace(" ", "-")
        for job, flags in STEPS.items():
            began = time.monotonic()
            submission = self._cluster.submit(way, job, shlex.split(flags.format(way=folder)))
            if job == "classify_archive":
                self._disturb(way, submission)
            code = submission.finish()
            self.say(f"{way}: {job} ended with {code}", time.monotonic() - began)
            self._expect(code == 0, f"{job} said {submission.said}")
            if job in ROWS:
                self._account(way, job, folder)
            if job.startswith("train"):
                seconds = workers_of_nodes(self._cluster)
                print(f"    seconds of workers: {_counts(seconds)}", flush=True)
                self._expect(len(seconds) == 2, f"{job} had workers on {len(seconds)} nodes and not on 2")

    def _disturb(self, way: str, submission: Submission) -> None:
        submission.wait_for_images(1)
        began = time.monotonic()
        if way == "submit.py":
            self._cluster.add_node("node3")
            what = "node3 joined"
        else:
            self._cluster.lose_node("node1")
            what = "node1 was lost"
        self.say(f"{what} after {submission.images()} images", time.monotonic() - began)
        self._expect(not submission.is_scored(), f"{what} when all images were scored; draw more of them")

    def _account(self, way: str, job: str, folder: str) -> None:
        for kind, nodes in blocks_of_nodes(self._cluster).items():
            print(f"    blocks {kind}: {_counts(nodes)}", flush=True)
            if kind == "loaded" and way == "submit.py":
                self._expect(nodes["node3"] > 0, f"node3 got no work of {job}")
        code, said = reconcile(self._cluster, folder, ROWS[job])
        print(f"    reconcile_archive ended with {code}: {said}", flush=True)
        self._expect(code == 0, f"the rows of {job} are not whole")

    def _expect(self, is_right: bool, otherwise: str) -> None:
        if not is_right:
            self.wrong.append(otherwise)
            print(f"    WRONG: {otherwise}", flush=True)

    @staticmethod
    def say(text: str, seconds: float) -> None:
        """Print a line with the time, and with the seconds that a step took."""
        print(f"{time.strftime('%H:%M:%S')}  {seconds:4.0f} s  {text}", flush=True)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counter.items())) or "none"


def main() -> None:
    """Run both ways, and end with code 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images-per-class", type=int, default=400)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    if reason := why_no_machines():
        sys.exit(reason)
    began = time.monotonic()
    with token_cluster(["node1", "node2"], ["node3"]) as cluster:
        fill_store(cluster, arguments.images_per_class)
        walk = Walk(cluster)
        walk.say("the cluster runs, and the store is filled", time.monotonic() - began)
        for way in arguments.ways:
            walk.run(way)
    print(f"{time.monotonic() - began:.0f} s: {'; '.join(walk.wrong) or 'ok'}")
    sys.exit(bool(walk.wrong))


if __name__ == "__main__":
    main()
