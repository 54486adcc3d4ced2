"""Every benchmark starts from a shell, where no test's path helps it to find its modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parent / "benchmarks").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("program", BENCHMARKS, ids=lambda path: path.stem)
def test_it_says_what_it_takes(program: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, program, "--help"], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
