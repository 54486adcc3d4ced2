"""Where the material outside the repository lies; tests that need it skip where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def _directory(path: Path, what: str) -> Path:
    if not path.is_dir():
        pytest.skip(f"{what} not found at {path}")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Input/output pairs of the reference implementation (not part of the repository)."""
    return _directory(SHARED / "golden", "golden data of the reference implementation")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real skeleton files (not part of the repository)."""
    return _directory(SHARED / "data", "real skeleton data")
