"""The pipeline as command lines: what a task reads, an earlier one has written."""

from __future__ import annotations

from pathlib import Path

import pytest
from bucket_run import run_in_bucket
from command_lines import command_lines
from rich.console import Console

from components.contracts.config import load_experiment
from components.contracts.errors import InputError, ResourceError
from pipelines.local.containers import containers
from pipelines.local.engine import Engine
from pipelines.local.run import Request

DEMO = Path(__file__).resolve().parents[2] / "pipelines" / "configs" / "demo.yaml"
PREFIX = "s3://lab/trial"


@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("streams", [["j"], ["j", "b", "km"]])
def test_every_input_is_an_earlier_output(rounds: int, streams: list[str]) -> None:
    experiment = load_experiment(DEMO, {"rounds": rounds, "streams": streams})
    written: list[str] = []
    for line in command_lines(experiment, "s3://lab/my.pkl", PREFIX):
        for uri in (word for word in line.arguments if word.startswith(PREFIX)):
            assert [output for output in written if f"{uri}/".startswith(f"{output}/")], f"{line.name}: {uri}"
        assert line.output not in written
        written.append(line.output)
    assert len(written) == 4 + len(streams) * (2 * rounds - 1)


def test_the_rounds_of_a_stream_follow_each_other() -> None:
    experiment = load_experiment(DEMO, {"rounds": 3, "streams": ["j", "b"]})
    lines = {line.name: " ".join(line.arguments) for line in command_lines(experiment, "my.pkl", "out")}
    assert "--constraints out/constraints-0" in lines["train b round 1"]
    assert "--previous" not in lines["train b round 1"]
    assert "--confusion out/b-2/confusion --previous out/constraints-b-1" in lines["agent b round 2"]
    assert "--constraints out/constraints-b-2 --previous out/b-2/checkpoint" in lines["train b round 3"]
    assert "agent b round 3" not in lines
    assert lines["evaluate"].count("--scores") == 6


def test_a_store_that_containers_cannot_reach_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("S3_ENDPOINT", "http://localhost:9000")
    with pytest.raises(InputError, match=r"^S3_ENDPOINT: found http://localhost:9000, which in a container is itself"):
        run_in_bucket(Request(tmp_path / "my.pkl", DEMO, {}, tmp_path), "s3://lab/trial", Console())


def test_without_an_engine_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ResourceError, match=r"^no container engine: [^\n]+ start one") as caught:
        Engine("trial")
    assert "\n" not in str(caught.value)


def test_a_config_too_large_for_containers_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "large.yaml"
    config.write_text(DEMO.read_text() + "# " + "x" * 100_000)
    request = Request(tmp_path / "my.pkl", config, {}, tmp_path)
    with (
        pytest.raises(InputError, match=r"large.yaml: \d+ bytes; in containers KFP hands it over on a command line"),
        containers(request, load_experiment(DEMO), tmp_path),
    ):
        pytest.fail("it ran")
