"""The dashboard and the configurations for Prometheus: every query is valid and asks for metrics that exist."""

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from cxr_ray.cluster.job_metrics import METRICS, RUN_TAGS

FOLDER = Path(__file__).parents[2] / "cluster" / "observability"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
OURS = {name: metric for metric in METRICS for name in metric.exported_names}
ADDED_BY_RAY = {"instance", "job", "le", "WorkerId", "NodeAddress", "GpuIndex", "Location"}


def selectors(node):
    """Every vector selector of a parsed query, with its name and matchers."""
    if isinstance(node, promql_parser.VectorSelector):
        return [node]
    below = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    return [found for child in [*below, *getattr(node, "args", [])] if child is not None for found in selectors(child)]


def parsed(query):
    return promql_parser.parse(query.replace("$__rate_interval", "1m"))


def names_of(query):
    return {selector.name for selector in selectors(parsed(query))}


def metrics_of_ray():
    """Names of the metrics of nodes in Ray's own source, and of its object store, which its C++ core exports."""
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    return {f"ray_{name}" for name in METRICS_GAUGES} | {"ray_object_store_memory"}


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_is_valid_and_names_metrics_that_exist(title, query):
    names = names_of(query)
    assert names, title
    assert names <= OURS.keys() | metrics_of_ray()


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_filters_by_tags_that_its_metric_has(title, query):
    for selector in selectors(parsed(query)):
        tags = {matcher.name for matcher in selector.matchers.matchers}
        metric = OURS.get(selector.name)
        known = {*RUN_TAGS, *metric.tags} if metric else set()
        assert tags <= known | ADDED_BY_RAY, title


def test_every_metric_of_the_jobs_is_on_the_dashboard():
    shown = set().union(*(names_of(query) for _, query in QUERIES))
    assert [metric.name for metric in METRICS if not shown & set(metric.exported_names)] == []


def test_a_wrong_query_is_found():
    assert names_of("sum(rate(ray_cxr_ray_imagse_total[1m]))") - OURS.keys()
    with pytest.raises(ValueError, match="unclosed"):
        parsed("sum(rate(ray_cxr_ray_images_total[1m])")


def test_panels_have_ids_descriptions_and_places_of_their_own():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in PANELS for target in panel["targets"])
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= 24 - place["w"], panel["title"]
    for one, other in itertools.combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        is_beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        is_below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert is_beside or is_below, (one["title"], other["title"])


def test_the_variables_are_those_that_the_queries_use():
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "run"]
    definition = DASHBOARD["templating"]["list"][1]["query"]["query"]
    selector = definition.removeprefix("label_values(").rpartition(",")[0]
    (matcher,) = parsed(selector).matchers.matchers
    assert set(matcher.value.split("|")) <= OURS.keys()


def test_prometheus_reads_the_list_of_nodes_that_ray_writes():
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    (scrape,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["file_sd_configs"][0]["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]


def test_the_configuration_is_valid_to_prometheus():
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; it comes with Prometheus")
    line = ["promtool", "check", "config", str(FOLDER / "prometheus.yml")]
    check = subprocess.run(line, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


def test_the_monitor_of_pods_selects_those_of_ray_by_the_port_of_their_metrics():
    monitor = yaml.safe_load((FOLDER / "pod_monitor.yaml").read_text())
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    (choice,) = monitor["spec"]["selector"]["matchExpressions"]
    assert (choice["key"], set(choice["values"])) == ("ray.io/node-type", {"head", "worker"})
    assert [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]
