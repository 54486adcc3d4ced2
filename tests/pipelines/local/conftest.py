"""One small run of the whole pipeline, for all tests that look at what it left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_experiment import Run, pipelines, write_inputs


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data and config, in a folder whose name a shell would read in another way, as KFP would the next."""
    folder = tmp_path_factory.mktemp("inputs") / "my work (2)" / "Ann's $HOME" / "python3"
    folder.mkdir(parents=True)
    return write_inputs(folder)


@pytest.fixture(scope="session")
def first_run(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with its results in such a folder too."""
    folder = tmp_path_factory.mktemp("first")
    root, temporary = folder / "Ann's (runs)", folder / "tmp"
    temporary.mkdir()
    data, config = inputs
    environment = {**os.environ, "TMPDIR": str(temporary), "SKELETONAGENT_TENSORBOARD": str(folder / "board")}
    result = pipelines("run", "--data", data, "--config", config, "--root", root, env=environment)
    return Run(root, result, (root / "small" / "pipeline.log").read_text(), temporary)
