"""How fast the store moves large objects, against a plain copy by the same client to one server: ``make bench-s3``.

A real S3 server is started. The plain copy is the minio client's ``fput_object`` and ``fget_object`` with as
many parts at once: it neither hashes what it sends nor checks what it reads, and leaves no metadata. Both are done
alternately, in one run on one machine; the ratio of the best times is what counts. Loopback and a server in Python
make the client's own work weigh more here than in a network.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from minio import Minio

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "runtime" / "store")]

from swift_server import SwiftServer, install  # noqa: E402

from components.runtime.store import store_for  # noqa: E402

BUCKET = "speed"
PARTS_AT_ONCE = 4
PART = 16 << 20
GOAL = 0.6


def main() -> int:
    """Print MB/s and ratios; return 1 if a ratio misses the goal."""
    parser = argparse.ArgumentParser(description="Throughput of the store against a plain copy.")
    parser.add_argument("--mb", type=int, default=512, help="Size of the object.")
    parser.add_argument("--turns", type=int, default=3, help="How often each is done; the best counts.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s3-speed-") as name:
        folder = Path(name)
        server = SwiftServer(install(ROOT / "build" / "s3-server"), folder / "server")
        (folder / "server").mkdir()
        server.prepare()
        server.start()
        try:
            os.environ.update(server.environment())
            return _compare(server, folder, arguments.mb, arguments.turns)
        finally:
            server.kill()


def _compare(server: SwiftServer, folder: Path, size: int, turns: int) -> int:
    client = Minio(f"127.0.0.1:{server.port}", server.access_key, server.secret_key, secure=False, region="us-east-1")
    client.make_bucket(BUCKET)
    source, target = folder / "source", folder / "target"
    with source.open("wb") as stream:
        for _ in range(size):
            stream.write(os.urandom(10**6))
    uri = f"s3://{BUCKET}/ours"
    store = store_for(uri)
    works: dict[str, Callable[[], object]] = {
        "put, plain": lambda: client.fput_object(
            BUCKET, "plain", str(source), part_size=PART, num_parallel_uploads=PARTS_AT_ONCE
        ),
        "put, store": lambda: store.publish(source, uri),
        "get, plain": lambda: client.fget_object(BUCKET, "plain", str(target)),
        "get, store": lambda: store.fetch(uri, folder / "fetched").unlink(),
    }
    best = dict.fromkeys(works, float("inf"))
    for _ in range(turns):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - started)
    for name, seconds in best.items():
        print(f"{name}: {size / seconds:.0f} MB/s")
    missed = 0
    for way in ("put", "get"):
        ratio = best[f"{way}, plain"] / best[f"{way}, store"]
        missed += ratio < GOAL
        print(f"{way}: the store moves {ratio:.0%} of what the plain copy does (goal: {GOAL:.0%})")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
