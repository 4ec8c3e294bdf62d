import numpy as np
import pytest

from cxr_ray.archive.tables import write_table
from cxr_ray.auditing.audit_images import AuditImages
from cxr_ray.auditing.network import AuditedNetwork, load_audited
from cxr_ray.auditing.source_check import check_source, read_sources
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.errors import DatasetError

LABELS = ("COVID", "Normal")


@pytest.fixture(scope="module")
def network(save_network, tmp_path_factory) -> AuditedNetwork:
    return load_audited(save_network(tmp_path_factory.mktemp("network"), labels=LABELS), "torch")


def images(sources, *, bright=0.0):
    """Images of noise of two classes in turn, brighter by `bright` if their source is A."""
    generator = np.random.default_rng(0)
    noise = generator.normal(100, 20, (len(sources), 32, 32)) + bright * (np.array(sources) == "A")[:, None, None]
    return AuditImages(
        image_ids=[f"image{number}" for number in range(len(sources))],
        pixels=noise.clip(0, 255).astype(np.uint8),
        truth=np.arange(len(sources)) % 2,
        labels=LABELS,
        groups=np.arange(len(sources)),
        lungs=None,
        has_lungs=np.zeros(len(sources), bool),
    )


@pytest.fixture
def config(tmp_path):
    """Writes the sources of images as a table, and returns the config that names it."""

    def write(sources, **changes):
        lines = [f"image{number},{source}" for number, source in enumerate(sources)]
        (tmp_path / "sources.csv").write_text("\n".join(["image_id,hospital", *lines]) + "\n")
        options = {"source_column": "hospital", "metadata_uri": str(tmp_path / "sources.csv"), "bootstrap_draws": 50}
        uris = {"model_uri": "m", "dataset_uri": "d", "output_uri": "o"}
        return AuditConfig(**(uris | options | changes))

    return write


def balanced(count=160):
    return ["A" if number // 2 % 2 else "B" for number in range(count)]


def test_a_source_that_the_features_show_fails(network, config):
    sources = balanced()
    covid, normal, of_class = check_source(network, images(sources, bright=60), config(sources))
    assert [one.verdict for one in (covid, normal, of_class)] == ["fail", "fail", "pass"]
    assert covid.question.asked == "source within COVID"
    assert covid.value > 0.9
    assert "80 images of 2 sources" in covid.detail


def test_a_source_that_nothing_shows_passes_or_is_too_rare_to_tell(network, config):
    sources = balanced(600)
    covid, normal, of_class = check_source(network, images(sources), config(sources))
    assert [one.verdict for one in (covid, normal, of_class)] == ["pass", "pass", "pass"]
    assert abs(covid.value) < 0.2


def test_a_source_of_one_class_alone_tells_the_class(network, config):
    sources = ["A" if number % 2 else "B" for number in range(80)]
    covid, normal, of_class = check_source(network, images(sources), config(sources))
    assert (covid.verdict, normal.verdict, of_class.verdict) == ("not measured", "not measured", "fail")
    assert covid.detail == "1 sources, of which 1 have images of 5 patients; two are needed"
    assert of_class.value == pytest.approx(0.5)


def test_without_a_source_nothing_is_measured(network, config):
    (found,) = check_source(network, images(balanced(20)), config([], source_column=None, metadata_uri=None))
    assert found.verdict == "not measured"
    (found,) = check_source(network, images(balanced(20)), config([""] * 20))
    assert found.detail == "no image has a value of hospital"


def test_the_source_may_be_a_column_of_the_dataset(tmp_path, config):
    import pyarrow as pa

    uri = str(tmp_path / "dataset.parquet")
    write_table(pa.table({"image_id": ["0", "1"], "scanner": ["x", None]}), uri)
    found = config(["A", "B"], source_column="scanner", metadata_uri=None, dataset_uri=uri)
    assert read_sources(["1", "0"], found) == [None, "x"]


def test_a_column_that_no_table_has_is_refused(config, tmp_path):
    with pytest.raises(DatasetError, match=r"sources\.csv has no column 'scanner' of source_column; it has .*hospital"):
        read_sources(["image0"], config(["A"], source_column="scanner"))
    with pytest.raises(DatasetError, match="knows none of the images"):
        read_sources(["x"], config(["A"]))
