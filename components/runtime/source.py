"""Digests of our own source. They are part of the cache keys, so that new code is never served old results, and each
task compares its own with the one that its pipeline was compiled with, so that old code never makes new ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import components

_SHARED = ("contracts", "runtime")


def source_digest(stage: str = "") -> str:
    """Return the SHA-256 (hex) of what decides a stage's result: its own files and the shared packages'.

    A stage imports nothing else of ours (a test sees to it), so a change of one stage leaves the others cached.
    """
    root = Path(components.__file__).parent
    digest = hashlib.sha256()
    for package in (*_SHARED, stage) if stage else _SHARED:
        for file in sorted((root / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(root).as_posix()}\0{file.stat().st_size}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()
