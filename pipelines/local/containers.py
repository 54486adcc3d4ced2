"""Where the tasks of a local run are containers: KFP's Docker runner with our images.

The agent is a service beside them, which alone knows the key of the LLM. The tasks share the folder of the run's
artifacts with this machine, as KFP's local runner wants it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from docker.types import Mount
from kfp import local

from components.agent.llm.endpoint import KEY_VARIABLE
from components.agent.service.messages import TOKEN_VARIABLE
from components.contracts.config import Experiment
from components.contracts.errors import InputError
from components.runtime import events
from components.runtime.task import RESUME_VARIABLE, image
from pipelines.images import STAGES
from pipelines.local.engine import IMAGE_USER, Engine
from pipelines.local.run import Request, Workplace

AGENT = "agent"
AGENT_PORT = 8080
EVERY_ADDRESS = "0.0.0.0"  # nosec B104 # of a container, in a network of its own
AGENT_URL = f"http://{AGENT}:{AGENT_PORT}"

LARGEST_CONFIG = 100_000
"""Bytes; Linux takes 128 KiB an argument, and the parts of the stages are written at greater length."""
_INHERITED = (events.VARIABLE, RESUME_VARIABLE, "OMP_NUM_THREADS", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


@contextlib.contextmanager
def containers(request: Request, experiment: Experiment, home: Path) -> Iterator[Workplace]:
    """Run each task in a container of its stage's image, and the agent as a service that they call.

    Raises:
        InputError: there is no engine, or an image is missing or old.
    """
    if (size := request.config.stat().st_size) > LARGEST_CONFIG:
        raise InputError(
            f"{size} bytes; in containers KFP hands it over on a command line, at most {LARGEST_CONFIG}; "
            "make run takes it",
            at=request.config,
        )
    root = request.root.resolve()
    home, artifacts, service = home.resolve(), root / "artifacts", root / "agent"
    shared = [artifacts, home / "resume", home / "events.jsonl"]
    token = secrets.token_hex(16)
    with Engine(str(home)) as engine:
        engine.check_images(*STAGES)
        for path in (artifacts, home / "resume", service):
            path.mkdir(exist_ok=True)
        for path in (*shared, service):
            hand_over(path)
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | {TOKEN_VARIABLE: token}
        options = engine.confined(environment)
        data = request.data.resolve()
        options["tmpfs"] |= _passable(root, data)
        # KFP mounts the artifacts itself.
        mounts = [Mount(str(path), str(path), "bind") for path in shared[1:]]
        mounts.append(Mount(str(data), str(data), "bind", read_only=True))
        with agent_service(engine, experiment, token, [Mount("/store", str(service), "bind")]):
            yield Workplace(local.DockerRunner(mounts=mounts, **options), AGENT_URL, engine.stop)


def agent_service(
    engine: Engine, experiment: Experiment, token: str, mounts: list[Mount], store: str = "/store", **more: str
) -> contextlib.AbstractContextManager[object]:
    """Run the agent's service under the name ``agent``; ``more`` joins its environment."""
    secrets_of_llm = {KEY_VARIABLE: os.environ[KEY_VARIABLE]} if KEY_VARIABLE in os.environ else {}
    command = ["python3", "-m", "components.agent", "serve", "--store", store]
    command += ["--host", EVERY_ADDRESS, "--port", str(AGENT_PORT)]
    if experiment.agent.base_url:
        command += ["--base-url", experiment.agent.base_url]
    options = engine.confined({TOKEN_VARIABLE: token, **secrets_of_llm, **more})
    options.pop("device_requests", None)
    # An LLM on this machine; in containers 127.0.0.1 is the container itself.
    options["extra_hosts"] = {"host.docker.internal": "host-gateway"}
    return engine.service(AGENT, image("agent"), command, mounts=mounts, **options)


def hand_over(path: Path) -> None:
    """Make the containers' user the owner of a path, where that is not who runs this."""
    if os.getuid() == 0:
        os.chown(path, IMAGE_USER, IMAGE_USER)


def _passable(*mounted: Path) -> dict[str, str]:
    """Return a file system that makes way to mounts below /root, which in images nobody else may enter."""
    return {"/root": "mode=755"} if any(Path("/root") in path.parents for path in mounted) else {}
