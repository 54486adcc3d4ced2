"""The container engine: our images there, and how every container of ours is confined."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from docker.client import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest
from requests import RequestException

from components.contracts.errors import InputError, ResourceError
from components.runtime.source import source_digest
from components.runtime.task import image

LABEL = "skeletonagent.run"
"""Of all containers and networks of one run; its value names the run."""
SOURCE_LABEL = "skeletonagent.source"
"""Of an image: the digest of the stage's source that is in it."""
IMAGE_USER = 10001
"""The user of the images (docker/Dockerfile)."""
STOP_S = 10
"""For how long a container may go on after SIGTERM."""

_HEALTHY_S = 60.0
_SECOND = 10**9  # in the engine's unit


class Engine:
    """Containers of one run. All that is started ends with the ``with`` block, or by ``stop``."""

    def __init__(self, run: str) -> None:
        try:
            self.client = DockerClient.from_env()
            self.client.ping()
        except DockerException as error:
            raise ResourceError(f"no container engine: {error}; start one, such as dockerd as root") from None
        self._run = run
        self.name = f"skeletonagent-{secrets.token_hex(4)}"

    def __enter__(self) -> Engine:
        self.stop()  # what a run that was killed left behind
        with _in_plain_words():
            self.client.networks.create(self.name, driver="bridge", labels={LABEL: self._run})
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.client.close()

    def stop(self) -> None:
        """End the run's containers, all at once and each within ``STOP_S`` seconds; then remove what is left."""
        mine = {"label": f"{LABEL}={self._run}"}
        with _in_plain_words():
            containers = self.client.containers.list(filters=mine)
            with ThreadPoolExecutor(len(containers) + 1) as pool:
                list(pool.map(_end, containers))
            for left in self.client.containers.list(all=True, filters=mine):
                with contextlib.suppress(NotFound, APIError):
                    left.remove(force=True)
            for network in self.client.networks.list(filters=mine):
                with contextlib.suppress(NotFound, APIError):
                    network.remove()

    def check_images(self, *stages: str) -> None:
        """Raise ``InputError`` unless the images are there and hold the source as it is."""
        for stage in stages:
            name = image(stage)
            try:
                labels = self.client.images.get(name).labels
            except ImageNotFound:
                raise InputError("no such image; make images builds it", at=name) from None
            if labels.get(SOURCE_LABEL) not in (source_digest(stage), "", None):
                raise InputError("holds other source than this folder; make images builds it anew", at=name)

    def confined(self, environment: dict[str, str]) -> dict[str, Any]:
        """Return how our containers run: without rights or a writable disk, on the run's network only."""
        options: dict[str, Any] = {
            "environment": environment,
            "network": self.name,
            "labels": {LABEL: self._run},
            "user": user(),
            "read_only": True,
            "tmpfs": {"/tmp": "mode=1777"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "shm_size": "1g",
            "init": True,  # passes signals on, and buries children
        }
        if self._has_gpu():
            options["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu", "compute", "utility"]])]
        return options

    def _has_gpu(self) -> bool:
        return shutil.which("nvidia-smi") is not None and "nvidia" in self.client.info().get("Runtimes", {})

    def run(self, reference: str, command: list[str], show: Callable[[bytes], None], **options: Any) -> int:
        """Run a container to its end, giving ``show`` what it prints when it prints it; return its exit status."""
        with _in_plain_words():
            container = self.client.containers.run(reference, command, detach=True, **options)
            try:
                for output in container.logs(stream=True):
                    show(output)
                return int(container.wait()["StatusCode"])
            finally:
                container.remove(force=True)

    @contextlib.contextmanager
    def service(self, name: str, reference: str, command: list[str], **options: Any) -> Iterator[Any]:
        """Run a container that the others reach under ``name``, from when it is healthy to the block's end."""
        check = {"test": [], "interval": _SECOND // 2}  # the image's own check, oftener
        reached = {self.name: self.client.api.create_endpoint_config(aliases=[name])}
        with _in_plain_words():
            container = self.client.containers.create(
                reference,
                command,
                name=f"{self.name}-{name}",
                healthcheck=check,
                networking_config=reached,
                **options,
            )
        try:
            with _in_plain_words():
                container.start()
            _wait_until_healthy(container, name)
            yield container
        finally:
            with _in_plain_words(), contextlib.suppress(NotFound):
                _end(container)
                container.remove(force=True)


@contextlib.contextmanager
def _in_plain_words() -> Iterator[None]:
    """Turn what the engine answers, and that it does not answer, into one line."""
    try:
        yield
    except (DockerException, RequestException) as error:
        reason = getattr(error, "explanation", None) or error
        raise ResourceError(f"container engine: {' '.join(str(reason).split())}") from None


def user() -> str:
    """Return who the containers run as: whoever runs this, or as root the images' own user."""
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() else f"{IMAGE_USER}:{IMAGE_USER}"


def _end(container: Any) -> None:
    with contextlib.suppress(NotFound):
        container.stop(timeout=STOP_S)


def _wait_until_healthy(container: Any, name: str) -> None:
    deadline = time.monotonic() + _HEALTHY_S
    while True:
        container.reload()
        state = container.attrs["State"]
        if state.get("Health", {}).get("Status") == "healthy":
            return
        if state["Status"] != "running" or time.monotonic() > deadline:
            last = (container.logs(tail=1).decode().strip() or "no output").removeprefix("error: ")
            raise InputError(f"container {name}: does not get healthy: {last}")
        time.sleep(0.2)
