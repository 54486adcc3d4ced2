"""Kills of the agent's service in mid-round: are the results those of a calm run, and what is paid for twice?

``python tests/benchmarks/agent_kills.py [--kills 24] [--store folder|bucket]``. Each round of ten questions is asked
through the service, which SIGKILL ends after a random number of answers and which is then started again on its port;
the client waits all the time. With ``bucket`` beside OpenStack Swift.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in (".", "agent", "agent/service", "runtime/store")] + [str(ROOT)]

from agent_helpers import NW_UCLA, Endpoint, Response, Scene, good, serving  # noqa: E402
from minio import Minio  # noqa: E402
from service_process import KEY, TOKEN, Service, until  # noqa: E402
from swift_server import SwiftServer, install  # noqa: E402

from components.agent.core import run_round  # noqa: E402
from components.agent.round import Round  # noqa: E402
from components.agent.service.client import ServiceClient  # noqa: E402
from components.contracts.artifact import digest  # noqa: E402

LATENCY_S = 0.05


@contextmanager
def bucket(folder: Path) -> Iterator[str]:
    """Run an S3 server and hand out a place in it."""
    server = SwiftServer(install(ROOT / "build" / "s3-server"), folder / "swift")
    server.root.mkdir()
    server.prepare()
    server.start()
    try:
        os.environ.update(server.environment())
        client = Minio(f"127.0.0.1:{server.port}", server.access_key, server.secret_key, secure=False)
        client.make_bucket("kills")
        yield "s3://kills/agent"
    finally:
        server.kill()


def campaign(kills: int, place: str, folder: Path, endpoint: Endpoint) -> None:
    """Kill the service so often; print what came of it."""
    chance, scene, answered = random.Random(0), Scene(folder), dict[str, float]()
    equal = open_asked_again = paid_twice = 0
    gaps: list[float] = []

    def answer(request: dict[str, Any]) -> Response:
        time.sleep(LATENCY_S)
        answered[request["messages"][1]["content"].splitlines()[0].removeprefix("Action class: ")] = time.monotonic()
        return good()(request)

    endpoint.default = answer
    service = Service(place, folder, ("--base-url", endpoint.url)).start()
    port = service.url.rpartition(":")[2]
    for number in range(kills):
        answered.clear()
        endpoint.requests.clear()
        stage = scene.stage(provider="openai", base_url=endpoint.url, parameters={"seed": number}, concurrency=2)
        with ThreadPoolExecutor(1) as pool:
            client = pool.submit(
                ServiceClient(service.url, poll_s=0.05).run_round, Round(stage), folder / f"there-{number}"
            )
            after = chance.randint(0, len(NW_UCLA) - 1)
            until(lambda after=after: len(answered) >= after and endpoint.requests, 0.002)
            time.sleep(chance.random() * LATENCY_S)
            service.kill()
            killed, before = time.monotonic(), dict(answered)
            asked = Counter(name for name, _, _ in endpoint.requests)
            service = Service(place, folder, ("--base-url", endpoint.url, "--port", port)).start()
            client.result(120)
        again = [name for name, count in Counter(name for name, _, _ in endpoint.requests).items() if count > 1]
        open_asked_again += sum(name not in before for name in again)
        gaps += [killed - before[name] for name in again if name in before]
        paid_twice += sum(name in before for name in again)
        endpoint.default = good()
        run_round(Round(stage), folder / f"here-{number}")
        endpoint.default = answer
        equal += digest(folder / f"here-{number}") == digest(folder / f"there-{number}")
        print(f"{number + 1}: killed after {sum(asked.values())} requests, {len(again)} asked again", flush=True)
    service.kill()
    longest = f", answered at most {1000 * max(gaps):.0f} ms before the kill" if gaps else ""
    print(
        f"{place}: {kills} kills; {equal} results byte-equal to a calm run's; {open_asked_again} open questions asked"
    )
    print(f"again; {paid_twice} asked again although the LLM had sent an answer{longest}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--store", choices=("folder", "bucket"), default="folder")
    options = parser.parse_args()
    os.environ.update(SKELETONAGENT_AGENT_TOKEN=TOKEN, OPENAI_API_KEY=KEY)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        endpoint = stack.enter_context(serving())
        place = stack.enter_context(bucket(folder)) if options.store == "bucket" else str(folder / "store")
        campaign(options.kills, place, folder, endpoint)


if __name__ == "__main__":
    main()
