import re

import pytest

from cxr_ray.cluster.job_metrics import METRICS, RUN_TAGS, JobMetric
from cxr_ray.imaging.limits import ErrorKind

ALLOWED_TAGS = {"run_id", "task", "stage", "status", "error_kind", "split"}


def test_names_are_unique_and_begin_with_the_name_of_the_product():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"cxr_ray_[a-z_]+", name) for name in names)
    assert not any(name.endswith(("_total", "_bucket", "_count", "_sum")) for name in names), "the exporter adds these"


def test_no_tag_could_name_an_image_or_a_patient():
    assert {tag for metric in METRICS for tag in (*RUN_TAGS, *metric.tags)} == ALLOWED_TAGS
    assert len(ErrorKind) < 50, "each kind is a time series"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("counter", ("ray_cxr_ray_x_total",)),
        ("gauge", ("ray_cxr_ray_x",)),
        ("histogram", ("ray_cxr_ray_x_bucket", "ray_cxr_ray_x_count", "ray_cxr_ray_x_sum")),
    ],
)
def test_prometheus_finds_a_metric_under_other_names(kind, names):
    assert JobMetric(name="cxr_ray_x", kind=kind, description="x").exported_names == names


def test_only_histograms_have_buckets_which_rise():
    for metric in METRICS:
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets))
