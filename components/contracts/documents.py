"""JSON of strangers, measured before it is read: a megabyte of brackets becomes a gigabyte of Python's objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.contracts.errors import DamagedError, InputError, ResourceError, SkeletonAgentError

LONGEST = 32 << 20
"""Bytes of a JSON document of an artifact."""
MOST_VALUES = 1_000_000
"""Values of one; constraints for ten thousand classes have half as many."""


def check_size(content: bytes, where: str, *, most_values: int = MOST_VALUES) -> None:
    """Raise ``InputError`` if a JSON document has more values than anybody needs.

    What separates values is counted, also within texts: an upper bound, and found without parsing.
    """
    values = sum(content.count(mark) for mark in (b",", b"[", b"{"))
    if values > most_values:
        raise InputError(f"holds some {values} values, at most {most_values} expected", at=where)


def read_bytes(file: Path, longest: int = LONGEST) -> bytes:
    """Return the content of a file; ``DamagedError`` if it is longer than ``longest`` bytes."""
    with file.open("rb") as stream:
        content = stream.read(longest + 1)
    if len(content) > longest:
        raise DamagedError(f"longer than {longest} bytes, which no such file is", at=file)
    return content


def read_json(file: Path) -> Any:
    """Return the value of a JSON file of an artifact; ``DamagedError`` if it is none, or too large."""
    content = read_bytes(file)
    try:
        check_size(content, str(file))
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"damaged: not a JSON document: {reason_of(error)}", at=file) from None


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a damaged ``kind`` artifact at ``path`` makes a reader stumble over into ``DamagedError``.

    Around the reading of an artifact only: what fails there is the content, which may be of any form.
    """
    try:
        yield
    except SkeletonAgentError:
        raise
    except MemoryError:
        raise ResourceError("too little memory to read it", at=path) from None
    except Exception as error:
        raise DamagedError(f"damaged: not as a {kind} artifact should be: {reason_of(error)}", at=path) from None


def reason_of(error: Exception) -> str:
    """Return what an exception says in one short line, without the path, which the line names already."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError | RecursionError) or not text else text
