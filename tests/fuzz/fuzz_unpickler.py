"""Feeds the pickle reader with what a coverage-guided fuzzer comes up with: ``make fuzz``.

Anything but data or ``InputError`` is a defect; the input that shows it is left as ``crash-…``. Arguments are those
of libFuzzer, such as ``-max_total_time=20``; without a corpus it starts from small annotation pickles.
"""

from __future__ import annotations

import io
import pickle
import resource
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["components.runtime.pickled"]):
    from components.contracts.errors import InputError
    from components.runtime.pickled.records import Records, load_streamed
    from components.runtime.pickled.unpickler import load_data

MEMORY_DISK = Path("/dev/shm")
SCRATCH = Path(tempfile.mkdtemp(prefix="fuzz-", dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None)) / "in.pkl"
MEMORY = 2 << 30


def one_input(data: bytes) -> None:
    """Load the bytes in all ways; all must agree on whether they are acceptable.

    Only records that are read once, while they are packed, may be refused for a change of mind behind them.
    """
    SCRATCH.write_bytes(data)
    outcomes = []
    ways = (
        load_data,
        lambda path: load_streamed(path, "annotations"),
        lambda path: load_streamed(path, "annotations", before=("split",)),
    )
    for load in ways:
        try:
            content = load(SCRATCH)
            if isinstance(content, dict) and isinstance(records := content.get("annotations"), Records):
                assert sum(1 for _ in records) == (records.number or sum(1 for _ in records))
            outcomes.append("read")
        except InputError as refusal:
            assert "\n" not in str(refusal), str(refusal)
            outcomes.append("refused" if "behind its records" not in str(refusal) else outcomes[0])
    assert len(set(outcomes)) == 1, outcomes


def seeds() -> list[bytes]:
    """Small annotation pickles of every protocol, and hostile ones."""
    record = {
        "frame_dir": "a",
        "label": np.int64(1),
        "keypoint": np.ones((1, 2, 3, 3), np.float16),
        "more": {1.5, None},
    }
    value = {
        "split": {"train": ["a"], "test": ("b",)},
        "annotations": [record, dict(record)],
        "x": [b"", True, -(2**70)],
    }
    made = [pickle.dumps(value, protocol=protocol) for protocol in (2, 3, 4, 5)]
    buffer = io.BytesIO()
    pickle.Pickler(buffer, 4).dump(np.arange(6).reshape(2, 3).T)
    return [*made, buffer.getvalue(), b"\x80\x04cos\nsystem\n\x8c\x04true\x85R.", b"\x80\x04" + b"]" * 40 + b"."]


def main() -> None:
    corpus = Path(tempfile.mkdtemp(prefix="corpus-"))
    for number, seed in enumerate(seeds()):
        (corpus / str(number)).write_bytes(seed)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    given = sys.argv[1:]
    folders = [argument for argument in given if not argument.startswith("-")] or [str(corpus)]
    options = [argument for argument in given if argument.startswith("-")]
    atheris.Setup([sys.argv[0], *options, *folders], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
