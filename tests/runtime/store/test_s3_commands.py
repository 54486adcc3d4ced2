"""Stages whose inputs and outputs are S3 URIs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_artifacts import write_confusion, write_scores
from made_trees import keys
from minio import Minio
from pickles import content, dump, write_experiment
from rich.console import Console
from small_experiment import write_inputs
from swift_server import SwiftServer

from components.contracts import checkpoint, confusion, constraints, dataset, report, scores
from components.contracts.artifact import digest
from components.contracts.errors import InputError
from components.runtime.cli import Exchange
from components.runtime.store import store_for
from pipelines.__main__ import pipeline_inputs


def call(repository: Path, stage: str, *arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"components.{stage}", "run", *map(str, arguments)]
    environment = {**os.environ, **changes}
    return subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return write_experiment(tmp_path / "experiment.yaml")


def test_preprocess_from_bucket_to_bucket(
    repository: Path, prefix: str, experiment: Path, swift: SwiftServer, tmp_path: Path
) -> None:
    source = dump(tmp_path / "in.pkl", content())
    store_for(prefix).publish(source, f"{prefix}/in.pkl")
    done = call(repository, "preprocess", f"{prefix}/in.pkl", "-c", experiment, "-o", f"{prefix}/dataset")
    assert done.returncode == 0, done.stderr
    assert f"{prefix}/dataset: 4 samples packed" in done.stdout
    assert swift.secret_key not in done.stdout + done.stderr
    local = call(repository, "preprocess", source, "-c", experiment, "-o", tmp_path / "local")
    assert local.returncode == 0, local.stderr
    found = store_for(prefix).fetch(f"{prefix}/dataset", tmp_path / "into")
    assert len(dataset.open(found)) == 4
    assert digest(found) == digest(tmp_path / "local")


@pytest.mark.slow
def test_all_stages_meet_in_the_bucket_only(repository: Path, prefix: str, swift: SwiftServer, tmp_path: Path) -> None:
    pickle, settings = write_inputs(tmp_path)
    store_for(prefix).publish(pickle, f"{prefix}/in.pkl")
    for stage, arguments in (
        ("preprocess", "{at}/in.pkl --output {at}/dataset"),
        ("agent", "--output {at}/constraints-0"),
        ("train", "--dataset {at}/dataset --constraints {at}/constraints-0 --output {at}/j-1"),
        (
            "agent",
            "--round 1 --stream j --confusion {at}/j-1/confusion --previous {at}/constraints-0 --output {at}/told",
        ),
        ("evaluate", "--scores {at}/j-1/scores --constraints {at}/constraints-0 --output {at}/report"),
    ):
        done = call(repository, stage, *arguments.format(at=prefix).split(), "--config", settings)
        assert done.returncode == 0, done.stderr
        assert swift.secret_key not in done.stdout + done.stderr
    for kind, where in ((checkpoint, "j-1/checkpoint"), (constraints, "told"), (report, "report")):
        kind.open(store_for(prefix).fetch(f"{prefix}/{where}", tmp_path / "into"))


def test_mistakes_are_one_line_before_any_work(
    repository: Path, prefix: str, experiment: Path, client: Minio, swift: SwiftServer, tmp_path: Path, nobody: str
) -> None:
    (tmp_path / "text.pkl").write_text("not a pickle")
    store_for(prefix).publish(tmp_path / "text.pkl", f"{prefix}/text.pkl")
    good, output = dump(tmp_path / "in.pkl", content()), f"{prefix}/dataset"
    cases: list[tuple[object, str, dict[str, str], int, str]] = [
        (f"{prefix}/text.pkl", output, {}, 2, f"{prefix}/text.pkl: not an acceptable pickle"),
        (good, output, {"AWS_SECRET_ACCESS_KEY": "geheim-1234567890"}, 2, "refuses the credentials"),
        (good, output, {"S3_ENDPOINT": nobody}, 75, f"{output}: {nobody} cannot be reached: Connection refused"),
    ]
    for source, target, changes, status, expected in cases:
        done = call(repository, "preprocess", source, "-c", experiment, "-o", target, **changes)
        assert done.returncode == status and done.stdout == ""
        lines = done.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ") and expected in lines[0]
        assert swift.secret_key not in lines[0] and "geheim" not in lines[0]
    assert keys(client, output) == []


def test_inputs_of_the_same_name_do_not_mix(prefix: str, tmp_path: Path) -> None:
    for number in (0, 1):
        write_scores(tmp_path / str(number), number)
        store_for(prefix).publish(tmp_path / str(number), f"{prefix}/{number}/scores")
    with Exchange() as exchange:
        found = [exchange.input(f"{prefix}/{number}/scores") for number in (0, 1)]
        assert [scores.open(path).digest for path in found] == [digest(tmp_path / str(n)) for n in (0, 1)]
    assert not any(path.exists() for path in found)


def test_errors_name_the_uri(prefix: str, tmp_path: Path) -> None:
    write_confusion(tmp_path / "made")
    store_for(prefix).publish(tmp_path / "made", prefix)
    with pytest.raises(InputError, match=f"^{prefix}: expected a scores artifact, found 'confusion'$"), Exchange() as e:
        scores.open(e.input(prefix))


def test_several_outputs(prefix: str, tmp_path: Path) -> None:
    with Exchange() as exchange:
        write_scores(exchange.output(f"{prefix}/out/scores"))
        write_confusion(exchange.output(f"{prefix}/out/confusion"))
        assert not store_for(prefix).exists(f"{prefix}/out/scores")
    scores.open(store_for(prefix).fetch(f"{prefix}/out/scores", tmp_path))
    confusion.open(store_for(prefix).fetch(f"{prefix}/out/confusion", tmp_path))


def test_a_failed_stage_publishes_nothing(prefix: str) -> None:
    with pytest.raises(ZeroDivisionError), Exchange() as exchange:
        path = exchange.output(prefix)
        write_scores(path)
        raise ZeroDivisionError
    assert not store_for(prefix).exists(prefix)
    assert not path.exists()


def test_a_result_that_cannot_be_published_is_kept(prefix: str, environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as caught, Exchange() as exchange:
        path = exchange.output(prefix)
        write_scores(path)
        environment.setenv("AWS_SECRET_ACCESS_KEY", "changed")
    assert str(caught.value).endswith(f"(SignatureDoesNotMatch); the result is kept in {path}")
    scores.open(path)
    shutil.rmtree(exchange._scratch)


def test_a_local_run_takes_its_data_from_the_bucket(prefix: str, tmp_path: Path) -> None:
    """What lies there now, under a path that stays the same, so that the cache knows it."""
    uri, root, console = f"{prefix}/in.pkl", tmp_path / "runs", Console(quiet=True)
    copies = []
    for text in ("first", "second"):
        (tmp_path / "in.pkl").write_text(text)
        store_for(prefix).publish(tmp_path / "in.pkl", uri)
        copy, config = pipeline_inputs(uri, Path("demo"), root, console)
        assert copy.read_text() == text and config.name == "demo.yaml"
        copies.append(copy)
    assert copies[0] == copies[1]
    with pytest.raises(InputError, match=f"^{prefix}/none.pkl: "):
        pipeline_inputs(f"{prefix}/none.pkl", Path("demo"), root, console)
