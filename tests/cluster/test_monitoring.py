"""Alerts and dashboard: valid queries, over metrics that the code really exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from manifests import of_kind
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

import components.agent.metrics as agent_metrics
import components.train.training.telemetry as train_metrics

FROM_ELSEWHERE = {"up", "kube_pod_start_time"}
"""Prometheus' own, and kube-state-metrics'."""
TARGET_LABELS = {"namespace", "pod", "job", "le"}
"""What Prometheus adds by where it found the metric, and the label of a histogram's buckets."""


def queries() -> Iterator[tuple[str, str]]:
    """Yield (where it stands, PromQL) for every alert and panel."""
    (rules,) = of_kind("gpu", "PrometheusRule")
    for group in rules["spec"]["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]


def dashboard() -> dict[str, Any]:
    (found,) = (item for item in of_kind("gpu", "ConfigMap") if item["metadata"]["name"] == "skeletonagent-dashboard")
    document: dict[str, Any] = json.loads(found["data"]["skeletonagent.json"])
    return document


def exported() -> dict[str, set[str]]:
    """Return the labels of every sample that the agent's and the trainer's metrics expose, by the sample's name."""
    registry, found = CollectorRegistry(), dict[str, set[str]]()
    metrics = [*vars(agent_metrics).values(), *vars(train_metrics).values()]
    for metric in {id(metric): metric for metric in metrics if isinstance(metric, MetricWrapperBase)}.values():
        if metric._labelnames:
            metric.labels(*("x" for _ in metric._labelnames))
        registry.register(metric)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def selectors(node: Any) -> Iterator[Any]:
    """Yield every vector selector of a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, str | int | float):
            yield from selectors(inner)
    for inner in getattr(node, "args", None) or []:
        yield from selectors(inner)


@pytest.mark.parametrize(("where", "query"), list(queries()), ids=lambda value: value if "{" not in value else "")
def test_queries_are_valid_and_ask_for_what_is_exported(where: str, query: str) -> None:
    known = exported()
    found = list(selectors(promql_parser.parse(query.replace("$namespace", "kubeflow"))))
    assert found, where
    for selector in found:
        if selector.name in FROM_ELSEWHERE:
            continue
        assert selector.name in known, f"{where}: nothing exports {selector.name}"
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name] | TARGET_LABELS, (
                f"{where}: {selector.name} has no {matcher.name}"
            )


@pytest.mark.parametrize(("where", "query"), list(queries()), ids=lambda value: value if "{" not in value else "")
def test_groupings_are_labels_that_exist(where: str, query: str) -> None:
    names = set(re.findall(r"[a-z_0-9]*skeletonagent_[a-z_0-9]+", query))
    labels = set().union(*(exported().get(name, set()) for name in names)) | TARGET_LABELS
    for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query):
        assert {label.strip() for label in group.split(",")} <= labels, where


def test_legends_and_texts_use_labels_of_their_query() -> None:
    every = set().union(*exported().values()) | TARGET_LABELS
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"])) <= every
    (rules,) = of_kind("gpu", "PrometheusRule")
    for group in rules["spec"]["groups"]:
        for rule in group["rules"]:
            assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= every
            assert {"summary", "description"} <= rule["annotations"].keys()


def test_every_metric_of_ours_is_shown_or_alerted_on() -> None:
    """A metric that nobody looks at is dead weight; the dashboard forgets none."""
    text = " ".join(query for _, query in queries())
    bases = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in exported()}
    assert not [base for base in sorted(bases) if base not in text]


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in dashboard()["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24


def test_the_dashboard_file_is_the_one_that_is_deployed(repository: Path) -> None:
    assert json.loads((repository / "k8s" / "monitoring" / "dashboard.json").read_text()) == dashboard()
