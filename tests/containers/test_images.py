"""What is in the images, and what is not."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from docker.client import DockerClient

from components.runtime.source import source_digest
from components.runtime.task import image
from pipelines.local.engine import SOURCE_LABEL

STAGES = ("preprocess", "train", "agent", "evaluate")
MEGABYTES = {"preprocess": 400, "train": 1100, "agent": 400, "evaluate": 400}
every_stage = pytest.mark.parametrize("stage", STAGES)

# Every module of the stage imports, but those whose package was left out on purpose; no other stage is there.
IMPORTS = """
import importlib, pathlib, sys
stage = sys.argv[1]
present = {path.name for path in pathlib.Path("/opt/app/components").iterdir() if path.is_dir()} - {"__pycache__"}
assert present == {"contracts", "runtime", stage}, present
left_out = {"agent": {"matplotlib", "torch"}, "train": {"matplotlib", "tensorboardX"}}.get(stage, set())
for package in sorted(present):
    root = pathlib.Path("/opt/app/components", package)
    for file in sorted(root.rglob("*.py")):
        name = ".".join(file.relative_to("/opt/app").with_suffix("").parts)
        if file.stem in ("__main__", "__init__") or file.stem.endswith("component"):
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in left_out:
                raise
"""
LEAKS = ("run/secrets", "etc/pip.conf", ".netrc", "root/.cache", "root/.config", ".git/", "docker/wheels")


def inside(client: DockerClient, stage: str, *command: str, **options: str) -> str:
    """Run a command in the image of a stage as our containers run."""
    confined = {"read_only": True, "tmpfs": {"/tmp": "mode=1777"}, "network_mode": "none", **options}
    output: bytes = client.containers.run(image(stage), [*command], remove=True, **confined)
    return output.decode()


@every_stage
def test_size(images: DockerClient, stage: str) -> None:
    assert images.images.get(image(stage)).attrs["Size"] < MEGABYTES[stage] * 10**6


@every_stage
def test_configuration(images: DockerClient, stage: str) -> None:
    config = images.images.get(image(stage)).attrs["Config"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"]), "a number, which Kubernetes can tell from root"
    assert not config.get("Entrypoint"), "KFP's Docker runner cannot replace it"
    assert config["Labels"][SOURCE_LABEL] == source_digest(stage)
    assert config["Labels"]["org.opencontainers.image.title"] == f"skeletonagent-{stage}"
    assert bool(config.get("Healthcheck")) == (stage == "agent")


@every_stage
def test_who_it_runs_as_and_where_it_writes(images: DockerClient, stage: str) -> None:
    assert inside(images, stage, "sh", "-c", "id -u; touch /opt/app/x 2>&1 || echo read-only").split("\n")[0] == "10001"
    writable = inside(images, stage, "find", "/opt", "-writable", "-not", "-type", "l")
    assert "opt/venv/lib" not in writable


@every_stage
def test_its_modules_import_on_a_read_only_root(images: DockerClient, stage: str) -> None:
    inside(images, stage, "python3", "-c", IMPORTS, stage)
    assert "Usage" in inside(images, stage, "python3", "-m", f"components.{stage}", "--help")


@every_stage
def test_what_is_not_there(images: DockerClient, stage: str) -> None:
    found = inside(
        images,
        stage,
        "python3",
        "-c",
        "from importlib.util import find_spec as f; import shutil;"
        "print([n for n in ('torch', 'pytest', 'mypy', 'kubernetes') if f(n)], "
        "[n for n in ('gcc', 'cc', 'make', 'git') if shutil.which(n)])",
    )
    # With kubernetes, train starts a job of several nodes.
    assert found.strip() == ("['torch', 'kubernetes'] []" if stage == "train" else "[] []")


@every_stage
def test_no_secret_is_in_any_layer(images: DockerClient, stage: str) -> None:
    """Neither by name in what a layer adds, nor by content: settings of pip, and certificates of this machine."""
    history = " ".join(entry["CreatedBy"] for entry in images.images.get(image(stage)).history())
    assert not re.search(r"https?://[^/ ]*@|PIP_(INDEX|EXTRA)|trusted-host", history)
    needles = [needle.encode() for needle in secrets_of_this_machine()]
    base = layers(images, "python:3.11-slim")
    own = images.images.get(image(stage))
    assert own.attrs["RootFS"]["Layers"][: len(base)] == base
    tail = b""
    for chunk in own.save(chunk_size=8 << 20):
        data = tail + chunk
        for needle in needles:
            assert needle not in data, f"{needle[:12]!r}…"
        tail = data[-200:]
    names = inside(images, stage, "find", "/opt", "/etc", "/root", "/run", "/home", "-xdev", user="0")
    assert not [line for line in names.splitlines() if any(leak in line for leak in LEAKS)]


def layers(client: DockerClient, name: str) -> list[str]:
    found: list[str] = client.images.get(name).attrs["RootFS"]["Layers"]
    return found


def secrets_of_this_machine() -> list[str]:
    """What the build was given: a line of each certificate that this machine adds, credentials of pip's."""
    found = []
    for certificate in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        lines = [line for line in certificate.read_text().splitlines() if len(line) == 64]
        found += lines[3:4]
    settings = "\n".join(
        [*(value for name, value in os.environ.items() if name.startswith("PIP_"))]
        + [path.read_text() for path in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf") if path.is_file()]
    )
    return found + re.findall(r"https?://[^/@\s]+:([^/@\s]+)@", settings)
