"""Run the whole product on a drawn archive of phantoms or on a real one; every step is a job that a user can type."""

import logging
import os
import runpy
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import read_table
from cxr_ray.cluster.session import ray_session
from cxr_ray.config.command_line import INTERRUPTED
from cxr_ray.config.demo import DemoConfig
from cxr_ray.errors import CxrRayError

ARCHIVE_URI = "s3://hospital/chest x-rays"
MARKER = ".cxr_ray_demo"
JOBS = Path(__file__).parents[2] / "jobs"


class DemoError(CxrRayError):
    """A step of the demo failed."""


def run_demo(config: DemoConfig) -> None:
    """Index, prepare, train, classify, segment and evaluate an archive, and print the paths of the reports last.

    Raises:
        DemoError: if the archive is not a folder, the output belongs to something else, or a job failed.
    """
    if config.archive and not Path(config.archive).is_dir():
        raise DemoError(f"no folder at {config.archive}; name the folder that holds COVID/images and so on")
    output = _fresh_folder(Path(config.output).absolute())
    started = time.monotonic()
    if config.archive:
        with ray_session():
            _run_jobs(str(Path(config.archive).absolute()), output, config)
    else:
        with s3_server(), ray_session():  # in this order: Ray's workers inherit the server's address
            _fill_archive(ARCHIVE_URI, config.images_per_class)
            _run_jobs(ARCHIVE_URI, output, config)
    write_run_record(str(output), config, seconds=round(time.monotonic() - started))
    print(
        f"\nThe demo finished in {time.monotonic() - started:.0f} s. Predictions: {output}/scored/predictions/*.parquet"
    )
    for report in ("lung_report", "report"):
        if (page := output / report / "report.html").exists():
            print(page)


def _fresh_folder(output: Path) -> Path:
    """Create an empty output folder; an existing folder is deleted only if an earlier demo made it."""
    if output.exists() and not output.is_dir():
        raise DemoError(f"{output} is a file; choose another --output")
    if output.exists() and any(output.iterdir()) and not (output / MARKER).exists():
        raise DemoError(f"{output} holds files that no demo made; choose another --output")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / MARKER).touch()
    return output


def _fill_archive(uri: str, images_per_class: int) -> None:
    from cxr_ray.phantoms.phantom_archive import write_phantom_archive

    print(f"Drawing {4 * images_per_class} chest phantoms into {uri}", flush=True)
    archive = write_phantom_archive(uri, images_per_class=images_per_class)
    print(f"The archive has {archive.images} images and {len(archive.broken)} broken files.", flush=True)


def _run_jobs(archive_uri: str, output: Path, config: DemoConfig) -> None:
    dataset, model, scored = (str(output / name) for name in ("dataset.parquet", "model", "scored"))
    manifest = str(output / "manifest.parquet")
    _job("index_archive", input_uri=archive_uri, output_uri=manifest, exclude="*/masks/*")
    _job("prepare_dataset", input_uri=archive_uri, output_uri=dataset)
    _job(
        "train_classifier",
        dataset_uri=dataset,
        output_uri=model,
        backbone="densenet121",
        image_size=config.image_size,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=2e-3,
        ema_decay=0.9,
    )
    _job("classify_archive", input_uri=manifest, model_uri=model, output_uri=scored, progress_seconds=10)
    _job("evaluate_classifier", predictions_uri=scored, dataset_uri=dataset, output_uri=str(output / "report"))
    if read_table(dataset, ["mask_uri"])["mask_uri"].null_count:
        print("\nSegmentation is left out, because not every image has a lung mask.")
    else:
        _segment_lungs(dataset, manifest, output, config)


def _segment_lungs(dataset: str, manifest: str, output: Path, config: DemoConfig) -> None:
    """Train a segmenter on the masks, segment the archive with it, and evaluate it on the masks of the test split."""
    segmenter, segmented = str(output / "segmenter"), str(output / "segmented")
    _job(
        "train_segmenter",
        dataset_uri=dataset,
        output_uri=segmenter,
        image_size=config.image_size * 3 // 16 * 8,  # a multiple of 8, which the four levels of the network need
        filters=(8, 16, 32, 64),
        epochs=config.segmenter_epochs,
        cycles=2,
        momentum=0.95,
        learning_rate=0.03,
    )
    _job("segment_archive", input_uri=manifest, model_uri=segmenter, output_uri=segmented, progress_seconds=10)
    evaluation = {"predictions_uri": segmented, "dataset_uri": dataset, "output_uri": str(output / "lung_report")}
    if config.by_text and not config.archive:
        evaluation["compare_uris"] = _segment_by_text(manifest, output)
    _job("evaluate_segmenter", **evaluation)


def _segment_by_text(manifest: str, output: Path) -> str:
    """Train small models on phantoms, segment the archive by text with them, and return the folder of the masks."""
    models, segmented = str(output / "phantom_models"), str(output / "segmented_by_text")
    _job("make_phantom_models", output_uri=models)
    _job(
        "segment_archive",
        input_uri=manifest,
        clip_uri=f"{models}/clip",
        sam_uri=f"{models}/sam.safetensors",
        output_uri=segmented,
        layer=0,
        beta=0.01,
        progress_seconds=10,
    )
    return segmented


def _job(name: str, **flags: object) -> None:
    """Print the command line of a job as a user would type it, and run it."""
    arguments: list[str] = []
    for flag, value in flags.items():
        values = value if isinstance(value, tuple) else (value,)
        arguments += [f"--{flag.replace('_', '-')}", *map(str, values)]
    print(f"\n$ python jobs/{name}.py {shlex.join(arguments)}", flush=True)
    own_command_line, sys.argv = sys.argv, [str(JOBS / f"{name}.py"), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")  # in this process, so that libraries are imported once
    except SystemExit as end:
        if end.code == INTERRUPTED:
            raise KeyboardInterrupt from end
        raise DemoError(f"{name} ended with exit code {end.code}; fix the error that its own line above names") from end
    finally:
        sys.argv = own_command_line


@contextmanager
def s3_server() -> Iterator[str]:
    """Run an S3 server (moto) on loopback with a bucket `hospital`; the AWS variables point to it inside the block."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # otherwise every request prints a line
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    variables = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with _environment(variables):
            from cxr_ray.archive.uris import open_filesystem

            open_filesystem("s3://hospital")[0].mkdir("hospital")
            yield endpoint
    finally:
        server.stop()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside the block, and restore their earlier values after it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
