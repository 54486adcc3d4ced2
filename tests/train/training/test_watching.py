"""What a user sees of a running round: log lines, gauges, a JSONL log, TensorBoard files, a learning curve."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from train_helpers import experiment, outputs

from components.contracts import checkpoint, scores
from components.contracts.errors import InputError
from components.runtime import progress
from components.train.core import Outputs, train_round
from components.train.round import Round
from components.train.trained.curve import draw_curve
from components.train.training import telemetry
from components.train.training.saves import SavePlace
from components.train.training.telemetry import Loggers


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Log lines of a round that nobody watches on a terminal, every one of them."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    telemetry.LOG.addHandler(handler)
    level = telemetry.LOG.level
    telemetry.LOG.setLevel(logging.INFO)
    yield seen
    telemetry.LOG.setLevel(level)
    telemetry.LOG.removeHandler(handler)


def run(data: Path, guidance: Path, folder: Path, loggers: Loggers) -> Outputs:
    made = Outputs(folder / "checkpoint", folder / "confusion", folder / "scores")
    stage = experiment(rounds=1, epochs=3, evaluate_every=2).stage_train("jm")
    train_round(Round(stage, "jm", 1, data, guidance), made, loggers=loggers)
    return made


def test_everything_that_can_be_watched(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, lines: list[str]
) -> None:
    pytest.importorskip("tensorboardX", reason="the extra 'tensorboard' is not installed")
    loggers = Loggers(tmp_path / "logs" / "jm.jsonl", tmp_path / "board")
    made = run(tiny_dataset, tiny_constraints, tmp_path / "watched", loggers)
    history = scores.open(made.scores).history
    _check_log(tmp_path / "logs" / "jm.jsonl", history)
    _check_lines(lines, history)

    def gauge(name: str) -> float | None:
        return REGISTRY.get_sample_value(f"skeletonagent_train_{name}", {"stream": "jm", "round": "1"})

    last = history[-1]
    assert (gauge("epoch"), gauge("loss"), gauge("top1_ratio")) == (3, last.loss, last.top1)
    assert (gauge("learning_rate"), gauge("test_top1_ratio")) == (last.learning_rate, history[1].test_top1)
    assert gauge("samples_per_second") and gauge("gpu_memory_bytes") is not None
    written = b"".join(file.read_bytes() for file in (tmp_path / "board" / "jm-r1").glob("events.out.tfevents.*"))
    assert all(f"train/{name}".encode() in written for name in ("loss", "top1", "test_top1", "clips_per_second"))

    plain = run(tiny_dataset, tiny_constraints, tmp_path / "unwatched", Loggers())
    for one, other in zip((made.checkpoint, made.scores), (plain.checkpoint, plain.scores), strict=True):
        assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes(), "loggers changes nothing"
    assert checkpoint.open(made.checkpoint).state.best_epoch == 2


def test_the_environment_asks_for_tensorboard_where_no_option_can(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX", reason="the extra 'tensorboard' is not installed")
    monkeypatch.setenv("SKELETONAGENT_TENSORBOARD", str(tmp_path / "board"))
    run(tiny_dataset, tiny_constraints, tmp_path, Loggers())
    assert list((tmp_path / "board" / "jm-r1").glob("events.out.tfevents.*"))


def test_mlflow_gets_every_epoch_of_a_round(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install mlflow-skinny")
    place = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("SKELETONAGENT_RUN", "demo-2")
    made = run(tiny_dataset, tiny_constraints, tmp_path, Loggers())
    client = mlflow.MlflowClient(place)
    (found,) = client.search_runs([client.get_experiment_by_name("skeletonagent").experiment_id])
    assert found.info.run_name == "demo-2 jm-r1" and found.info.status == "FINISHED"
    assert found.data.params["stream"] == "jm"
    history = scores.open(made.scores).history
    assert [one.value for one in client.get_metric_history(found.info.run_id, "loss")] == [one.loss for one in history]


def test_mlflow_that_is_missing_is_one_line(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI: needs the package mlflow-skinny: pip install"):
        run(tiny_dataset, tiny_constraints, tmp_path, Loggers())


def _check_log(path: Path, history: tuple[object, ...]) -> None:
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in logged] == [1, 2, 3]
    for line, record in zip(logged, history, strict=True):
        assert line.items() >= record.model_dump().items()  # type: ignore[attr-defined]
        assert line["clips_per_second"] > 0 and line["seconds"] > 0 and line["time"] and line["stream"] == "jm"


def _check_lines(lines: list[str], history: tuple[object, ...]) -> None:
    shown = [line for line in lines if line.startswith("train jm round 1: ")]
    assert any("12/12" in line and "s left" in line for line in shown), "steps, so that long epochs move too"
    last = history[-1]
    expected = f"epoch 3/3: loss {last.loss:.3f}, train top-1 {last.top1:.1%}"  # type: ignore[attr-defined]
    assert any(expected in line and line.endswith("clips/s") for line in shown)


def test_the_time_left_counts_from_the_resume(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety of a hundred steps were an earlier process's: five in ten seconds leave ten seconds for the last five."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress("train j round 1", 100, telemetry.LOG, done=90) as report:
        now[0] += 10
        report(95)
    assert lines == ["train j round 1: 95/100, about 10 s left "]


def test_a_resumed_round_says_where_it_stands(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        """Stands for the end of the process."""

    def die(save: Path) -> None:
        if "000002" in save.name:
            raise KilledError

    begun: list[tuple[int, int]] = []

    def noted(
        title: str, total: int, logger: logging.Logger, done: int = 0
    ) -> AbstractContextManager[progress.Reporter]:
        begun.append((done, total))
        return progress.progress(title, total, logger, done)

    monkeypatch.setattr(telemetry, "progress", noted)
    stage = experiment(rounds=1, epochs=3).stage_train("j")
    given = Round(stage, "j", 1, tiny_dataset, tiny_constraints), outputs(tmp_path)
    with pytest.raises(KilledError):
        train_round(*given, resume=SavePlace(tmp_path / "resume", saved=die))
    train_round(*given, resume=SavePlace(tmp_path / "resume"))
    assert begun == [(0, 12), (8, 12)]


def test_missing_package_is_one_line(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match="TensorBoard: needs the package tensorboardX: pip install tensorboardX"):
        run(tiny_dataset, tiny_constraints, tmp_path, Loggers(tensorboard=tmp_path / "board"))


def test_log_that_cannot_be_written(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        run(tiny_dataset, tiny_constraints, tmp_path, Loggers(log=tmp_path))


def test_learning_curve(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    made = run(tiny_dataset, tiny_constraints, tmp_path, Loggers())
    draw_curve(made.checkpoint, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    draw_curve(made.scores, tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text()
    assert "<svg" in drawn
    for artifact, output, reason in (
        (made.scores, "curve.txt", r"found suffix '.txt', expected .png, .svg, .pdf"),
        (made.confusion, "curve.png", "expected a checkpoint artifact, found 'confusion'"),
        (tmp_path / "nothing", "curve.png", "checkpoint artifact not found"),
    ):
        with pytest.raises(InputError, match=reason):
            draw_curve(artifact, tmp_path / output)
