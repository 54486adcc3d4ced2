"""The manifests as kustomize builds them, and ways to walk through them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.cluster.kubectl import Kubectl
from pipelines.cluster.overlay import OVERLAYS

NAMES = sorted(folder.name for folder in OVERLAYS.iterdir())
Object = dict[str, Any]


@functools.cache
def built(name: str) -> list[Object]:
    """Return the objects of an overlay."""
    return Kubectl("").build(Path(OVERLAYS / name))


def of_kind(name: str, *kinds: str) -> list[Object]:
    return [item for item in built(name) if item["kind"] in kinds]


def walk(value: Any) -> Iterator[Object]:
    """Yield every mapping within a value."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def pod_specs(name: str) -> Iterator[tuple[str, Object]]:
    """Yield (what it is of, pod spec) for everything that makes pods."""
    for item in built(name):
        for inner in walk(item.get("spec", {})):
            if "containers" in inner:
                yield f"{name}: {item['kind']} {item['metadata']['name']}", inner
