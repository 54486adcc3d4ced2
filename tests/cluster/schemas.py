"""Schemas of the kinds that are not Kubernetes' own, for the fields that we use; what is not listed is refused.

Written after the API references of the Prometheus operator (monitoring.coreos.com/v1). The TrainingRuntime is checked
against the models of Kubeflow Trainer's own package.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
LABELS = {"type": "object", "additionalProperties": TEXT}
DURATION = {"type": "string", "pattern": r"^(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?$"}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def several(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


def whole(spec: Any) -> dict[str, Any]:
    metadata = closed(["name", "namespace"], name=TEXT, namespace=TEXT, labels=LABELS, annotations=LABELS)
    return closed(["apiVersion", "kind", "metadata", "spec"], apiVersion=TEXT, kind=TEXT, metadata=metadata, spec=spec)


SELECTOR = closed([], matchLabels=LABELS)
RELABELING = closed(
    ["action"],
    sourceLabels=several({"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}),
    regex=TEXT,
    replacement=TEXT,
    targetLabel=TEXT,
    action={"enum": ["replace", "keep", "drop", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"]},
)
ENDPOINT = closed([], port=TEXT, path=TEXT, interval=DURATION, scheme=TEXT, relabelings=several(RELABELING))
ALERT = {
    **closed(["alert", "expr"], alert=TEXT, expr=TEXT, labels=LABELS, annotations=LABELS, **{"for": DURATION}),
}
GROUP = closed(["name", "rules"], name=TEXT, interval=DURATION, rules=several(ALERT))

SCHEMAS = {
    "ServiceMonitor": whole(closed(["selector", "endpoints"], selector=SELECTOR, endpoints=several(ENDPOINT))),
    "PodMonitor": whole(
        closed(["selector", "podMetricsEndpoints"], selector=SELECTOR, podMetricsEndpoints=several(ENDPOINT))
    ),
    "PrometheusRule": whole(closed(["groups"], groups=several(GROUP))),
}
