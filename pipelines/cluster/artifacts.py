"""The artifacts of earlier runs, where KFP has put them: ``ROOT/PIPELINE/RUN/TASK/…/OUTPUT/manifest.json``.

What an artifact is stands in its manifest, so no database of KFP's is asked. A task that came from KFP's cache left
nothing in its run's folder; its artifacts are looked for among those of the other runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from components.contracts.artifact import MANIFEST, Manifest
from components.contracts.errors import InputError
from components.runtime.store import is_remote
from components.runtime.store.connection import CHECK_PATIENCE_S, Patience, Settings, connect, told
from pipelines.cluster.package import NAME
from pipelines.cluster.replay import Need

DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
KINDS = ("dataset", "constraints", "checkpoint", "confusion", "scores", "model", "report")


@dataclass(frozen=True)
class Found:
    """An artifact: where it is and what its manifest says."""

    uri: str
    manifest: Manifest

    def fits(self, need: Need) -> bool:
        """Tell whether it is what a task needs."""
        about = self.manifest.about
        if self.manifest.artifact != need.kind:
            return False
        if need.kind == "dataset":
            return True
        return (about.get("stream") or "", about.get("round")) == (need.stream, need.round)


def locate(needs: list[Need], root: str, run_id: str, config_of: Callable[[Need], dict[str, Any]]) -> dict[Need, str]:
    """Return the URI of every artifact that is needed: of the run itself, or else of an equal one of another run.

    Args:
        needs: what to find.
        root: where KFP keeps artifacts: a URI, or a folder.
        run_id: the run whose artifacts are wanted.
        config_of: the configuration that makes such an artifact in that run.

    Raises:
        InputError: one is nowhere, or several of other runs fit and differ.
    """
    root = root.partition("?")[0].rstrip("/")  # KFP's may end with what its driver is to know of the server
    own = list(found_below(f"{root}/{NAME}/{run_id}"))
    every: list[Found] | None = None
    uris = {}
    for need in needs:
        candidates = [found for found in own if found.fits(need)]
        if not candidates:
            every = list(found_below(f"{root}/{NAME}")) if every is None else every
            config = config_of(need)
            candidates = [found for found in every if found.fits(need) and found.manifest.config == config]
        if len({found.manifest.sha256 for found in candidates}) != 1:
            raise InputError(_unclear(need, candidates, f"{root}/{NAME}"))
        uris[need] = candidates[0].uri
    return uris


def _unclear(need: Need, candidates: list[Found], where: str) -> str:
    what = f"{need.kind} {need.stream} round {need.round}".replace("  ", " ") if need.kind != "dataset" else need.kind
    if not candidates:
        return f"{what}: not found below {where}; name it with --input {need.name}=URI"
    uris = ", ".join(found.uri for found in candidates)
    return f"{what}: several that differ: {uris}; choose with --input {need.name}=URI"


def found_below(folder: str) -> Iterator[Found]:
    """Yield the artifacts below a folder or prefix, but not those that are a part of another, as in a model."""
    found = dict(_remote(folder) if is_remote(folder) else _local(Path(folder)))
    for uri, content in found.items():
        if uri.rpartition("/")[0] in found:
            continue
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError:
            continue  # somebody else's manifest.json
        if manifest.artifact in KINDS:
            yield Found(uri, manifest)


def _local(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob(MANIFEST)):
        yield str(file.parent), file.read_bytes()


def _remote(prefix: str) -> Iterator[tuple[str, bytes]]:
    parts = urlsplit(prefix)
    settings = Settings.read()
    client = connect(settings, Patience(settings.endpoint, CHECK_PATIENCE_S))
    with told(prefix, parts.netloc, settings.endpoint):
        for entry in client.list_objects(parts.netloc, parts.path.strip("/") + "/", recursive=True):
            if entry.object_name.endswith(f"/{MANIFEST}"):
                response = client.get_object(parts.netloc, entry.object_name)
                try:
                    yield (
                        f"{parts.scheme}://{parts.netloc}/{entry.object_name.removesuffix(f'/{MANIFEST}')}",
                        response.data,
                    )
                finally:
                    response.close()
                    response.release_conn()
