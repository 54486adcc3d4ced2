"""How a local run starts its tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import local
from small_experiment import CONFIG

from components.contracts.section import parameter_json
from pipelines.configure import configure
from pipelines.local.tasks import Processes, started_directly


def test_a_configuration_too_large_for_a_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Linux takes 128 KiB an argument; 5,000 names of classes are more."""
    names = [f"somebody does the thing number {number}" for number in range(5000)]
    config = CONFIG.replace("classes: [", f"classes: [{', '.join(names)}, ")
    assert len(config) > 1 << 17
    with started_directly(Processes()):
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(tmp_path / "python3's (2)"),
            workspace_root=str(tmp_path),
        )
        task: Any = configure(config=config, overrides={}, presets="", rounds=2, code="")
    assert json.loads(parameter_json(task.outputs["preprocess"]))["classes"][:5000] == names
    assert "pip install" not in capfd.readouterr().out


def test_a_run_that_was_stopped_starts_no_other_task() -> None:
    processes = Processes()
    processes.stop()
    assert processes.run(["sh", "-ec", 'ephemeral_component.py "$@"', "print(1)", "--executor_input", "{}"], {}) == 1


def test_a_component_that_names_its_own_module_is_started_as_it_says(capfd: pytest.CaptureFixture[str]) -> None:
    """As that of evaluate does, whose inputs depend on the number of rounds."""
    command = ["env", "_KFP_RUNTIME=true", "python3", "-m", "json.tool", "--help"]
    assert Processes().run(command, {}) == 0
    assert "usage" in capfd.readouterr().out
