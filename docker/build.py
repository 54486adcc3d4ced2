"""Builds the images with this machine's pip settings, none of which stay in them: ``python docker/build.py --help``.

pip's settings and the certificates it trusts are handed to the build as secrets: they exist while a package is
installed, in no layer and in no history. torch is fetched by this machine's pip into docker/wheels first, because
its build without CUDA lies elsewhere than in the index of most machines.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from torch_build import unknown, wanted_torch

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / "docker" / "wheels"
STAGES = ("preprocess", "train", "agent", "evaluate")
OTHERS = ("s3",)
PLATFORM = "manylinux_2_28_x86_64"


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description="Build the images of the stages.")
    parser.add_argument("targets", nargs="*", default=STAGES, metavar="STAGE", help=", ".join([*STAGES, *OTHERS]))
    parser.add_argument("--torch", required=True, help="Such as torch==2.13.0; what the lock goes with.")
    parser.add_argument("--cuda", action="store_true", help="train with CUDA; otherwise without, a quarter of the size")
    parser.add_argument("--index", default="", help="URL of an index that has torch's builds without CUDA")
    parser.add_argument("--base", default="python:3.11-slim", help="A Debian-based image with Python 3.11 and pip.")
    parser.add_argument("--prefix", default=os.environ.get("SKELETONAGENT_IMAGES", "skeletonagent"))
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - {*STAGES, *OTHERS}:
        parser.error(f"STAGE: found {', '.join(unknown)}, expected {', '.join([*STAGES, *OTHERS])}")
    cuda = arguments.cuda
    try:
        client = _client()
        _check_engine(client)
        if (
            "train" in arguments.targets
            and not cuda
            and not _fetch(wanted_torch(arguments.torch, False), arguments.index)
        ):
            cuda = True
            print(
                "pip knows no build of torch without CUDA here: the image of train gets the one with CUDA, 5.1 GB "
                "instead of 0.95 (TORCH_INDEX=… names an index, or put the wheel into docker/wheels)",
                flush=True,
            )
        torch = wanted_torch(arguments.torch, cuda)
        with tempfile.TemporaryDirectory() as folder:
            secrets = _secrets(Path(folder))
            for target in arguments.targets:
                _build(client, target, arguments.prefix, [*secrets, *_arguments(target, arguments.base, torch)])
    except BuildError as error:
        sys.exit(f"error: {error}")


class BuildError(Exception):
    """Why the images cannot be built here, in one line."""


def _client() -> str:
    """Return a docker client that builds with BuildKit: Debian's has it built in, newer ones as a plugin."""
    candidates = [shutil.which("docker", path=folder) for folder in os.get_exec_path()]
    for client in filter(None, candidates):
        if subprocess.run([client, "buildx", "version"], capture_output=True, check=False).returncode == 0:
            return client
        version = subprocess.run([client, "--version"], capture_output=True, text=True, check=False).stdout
        if (found := re.search(r"version (\d+)", version)) and int(found.group(1)) < 23:
            return client
    raise BuildError("no docker client with BuildKit; install docker-buildx, or docker.io where Debian 12 runs")


def _check_engine(client: str) -> None:
    asked = subprocess.run([client, "version", "--format", "{{.Server.Version}}"], capture_output=True, check=False)
    if asked.returncode != 0:
        raise BuildError("no container engine answers; start one, such as dockerd as root")


def _fetch(torch: str, index: str) -> bool:
    """Put the wheel of torch where the build finds it, unless it is there; tell whether pip knows one."""
    name, version = torch.split("==")
    if any(WHEELS.glob(f"{name}-{version}-*.whl")):
        return True
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", "3.11", "--platform", PLATFORM, "--dest", str(WHEELS)]
    command += ["--extra-index-url", index] if index else []
    tried = subprocess.run([*command, torch], capture_output=True, text=True, check=False)
    if tried.returncode != 0 and not unknown(tried.stderr):
        raise BuildError(f"pip cannot fetch {torch}: {(tried.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return tried.returncode == 0


def _secrets(folder: Path) -> list[str]:
    """Write pip's settings as this machine has them; return the options that hand them to the build."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings: dict[str, str] = {}
    for scope in ("global", "install", ":env:"):  # as pip does, the later wins
        settings |= re.findall(rf"^{scope}\.([\w-]+)='(.*)'$", listed, re.MULTILINE)
    certificates = settings.pop("cert", None) or os.environ.get("SSL_CERT_FILE")
    for local in ("find-links", "cache-dir", "config-file", "require-virtualenv", "user"):
        settings.pop(local, None)
    reachable = {key: " ".join(_remote(value)) for key, value in settings.items()}
    pip = folder / "pip.conf"
    pip.touch(mode=0o600)
    pip.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in reachable.items() if value))
    options = ["--secret", f"id=pip,src={pip}"]
    if certificates and Path(certificates).is_file():
        options += ["--secret", f"id=ca,src={certificates}"]
    return options


def _remote(value: str) -> list[str]:
    return [word for word in value.replace("\\n", " ").split() if not word.startswith(("file:", "/"))]


def _arguments(target: str, base: str, torch: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    revision = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    values = {
        "BASE_IMAGE": base,
        "VERSION": project["version"],
        "REVISION": revision.stdout.strip() or "unknown",
    }
    if target == "train":
        values["TORCH"] = torch
    if target in STAGES:
        sys.path.insert(0, str(ROOT))
        from components.runtime.source import source_digest

        values["SOURCE_DIGEST"] = source_digest(target)
    return [word for name, value in values.items() for word in ("--build-arg", f"{name}={value}")]


def _build(client: str, target: str, prefix: str, options: list[str]) -> None:
    started = time.monotonic()
    image = f"{prefix}-{target}:0.1.0"
    print(f"building {image} ...", flush=True)
    command = [client, "build", "--quiet", *options, "--target", target, "--tag", image]
    result = subprocess.run(
        [*command, "--file", str(ROOT / "docker" / "Dockerfile"), str(ROOT)],
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.stderr.write(result.stdout)
        raise BuildError(f"{image} could not be built; the last lines above say why")
    size = subprocess.run(
        [client, "image", "inspect", "--format", "{{.Size}}", image], capture_output=True, text=True, check=True
    ).stdout
    print(f"... {int(size) / 1e6:.0f} MB in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
