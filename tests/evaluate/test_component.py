"""The KFP component: a signature for any number of rounds, and the task as KFP's launcher starts it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_runs import Run, experiment, make_run, write_dataset

from components.contracts import scores
from components.contracts.artifact import digest
from components.evaluate.component import evaluate_component, for_rounds
from components.evaluate.core import evaluate


def test_every_round_has_its_lists_and_the_last_no_constraints() -> None:
    names = list(inspect.signature(for_rounds(3)).parameters)
    lists = [name for name in names if name[-1].isdigit()]
    assert lists == [f"scores_{r}" for r in (1, 2, 3)] + [f"confusion_{r}" for r in (1, 2, 3)] + [
        "constraints_1",
        "constraints_2",
    ]
    spec: Any = evaluate_component(3).component_spec  # type: ignore[attr-defined]
    assert all(spec.inputs[name].is_artifact_list for name in lists)
    assert spec.inputs["scores_2"].description == "Of every stream, after round 2."
    assert set(spec.outputs) == {"report", "page", "metrics", "confusion_matrix"}


def executor_input(run: Run, packed: Path, baseline: Path, folder: Path) -> dict[str, Any]:
    """What KFP's launcher hands over: a list of artifacts per input, and where the outputs belong."""

    def artifacts(*paths: Path, kind: str = "system.Artifact") -> dict[str, Any]:
        known = {"type": {"schemaTitle": kind, "schemaVersion": "0.0.1"}, "metadata": {}}
        return {"artifacts": [{"name": path.name, "uri": str(path), **known} for path in paths]}

    inputs = {"dataset": artifacts(packed, kind="system.Dataset"), "prior": artifacts(run.constraints["", 0])}
    inputs["baseline"] = artifacts(baseline)
    for name, paths in (("scores", run.scores), ("confusion", run.confusions), ("constraints", run.constraints)):
        for number in sorted({number for _, number in paths} - {0}):
            inputs[f"{name}_{number}"] = artifacts(*(path for (_, found), path in paths.items() if found == number))
    kinds = {"report": "Artifact", "page": "HTML", "metrics": "Metrics", "confusion_matrix": "ClassificationMetrics"}
    parameters = {"stage": run.experiment.stage_evaluate().to_json(), "code": ""}
    return {
        "inputs": {"parameterValues": parameters, "artifacts": inputs},
        "outputs": {
            "artifacts": {name: artifacts(folder / name, kind=f"system.{kind}") for name, kind in kinds.items()},
            "outputFile": str(folder / "executor_output.json"),
        },
    }


def make_baseline(run: Run, path: Path) -> Path:
    """What the task ``baseline`` leaves: scores, or word that none are wanted."""
    stage = run.experiment.stage_baseline()
    if stage.wanted:
        one = replace(scores.open(run.scores["j", 1]), stream=scores.TEMPORAL_CONVOLUTION, round=0, history=())
        scores.write(path, one, made_from={}, config=stage)
    else:
        scores.write_left_out(path, scores.TEMPORAL_CONVOLUTION, "evaluate.baseline is false", config=stage)
    return path


@pytest.mark.parametrize("wanted", [True, False])
def test_the_task_makes_the_report_of_the_core(tmp_path: Path, wanted: bool) -> None:
    run = make_run(tmp_path / "run", experiment(evaluate={"baseline": wanted}))
    packed, simple = write_dataset(tmp_path / "d", run), make_baseline(run, tmp_path / "baseline")
    given = json.dumps(executor_input(run, packed, simple, tmp_path / "out"))
    container = evaluate_component(2).component_spec.implementation.container  # type: ignore[attr-defined]
    words = [*container.command, *container.args[:-1], given]
    command = [sys.executable if word == "python3" else word for word in words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    evaluate(*run.arguments(tmp_path / "core"), dataset=packed, baselines=[simple] if wanted else [])
    assert digest(tmp_path / "out" / "report") == digest(tmp_path / "core")
    assert (tmp_path / "out" / "page").read_bytes() == (tmp_path / "core" / "report.html").read_bytes()
    assert ("temporal convolution" in (tmp_path / "out" / "page").read_text()) == wanted
    written = json.loads((tmp_path / "out" / "executor_output.json").read_text())["artifacts"]
    shown = written["metrics"]["artifacts"][0]["metadata"]
    assert {"ensemble_top1", "gain_top1", "j_round1_top1", "b_round2_top1"} <= set(shown)
    assert "confusionMatrix" in written["confusion_matrix"]["artifacts"][0]["metadata"]
