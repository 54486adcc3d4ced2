"""Which folder a run gets, and what deleting one takes away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from components.contracts.errors import InputError
from pipelines.local import folders, listing


def record(identity: str, name: str = "demo") -> folders.Record:
    return folders.Record(experiment=name, identity=identity, data="my.pkl", config="my.yaml", settings={"seed": 1})


def finish(root: Path, identity: str, name: str = "demo") -> str:
    """Go through a run; return the name of its folder."""
    now = record(identity, name)
    with folders.own_folder(root, now) as home:
        (home / "report.html").write_text(identity)
        now.state, now.seconds, now.top1 = "finished", 61.0, 0.5
        now.write(home)
    return home.name


def test_no_run_takes_the_place_of_anothers_report(tmp_path: Path) -> None:
    assert [finish(tmp_path, identity) for identity in ("a", "b", "a", "c", "b")] == [
        "demo", "demo-2", "demo", "demo-3", "demo-2",
    ]  # fmt: skip
    assert [(tmp_path / name / "report.html").read_text() for name in ("demo", "demo-2", "demo-3")] == ["a", "b", "c"]


def test_a_run_that_failed_leaves_its_folder_to_the_next(tmp_path: Path) -> None:
    with folders.own_folder(tmp_path, record("wrong data")) as home:
        record("wrong data").write(home)
    assert finish(tmp_path, "right data") == "demo"


def test_the_same_run_twice_at_once_is_refused_and_another_goes_beside_it(tmp_path: Path) -> None:
    with folders.own_folder(tmp_path, record("a")) as home:
        record("a").write(home)
        with (
            pytest.raises(InputError, match=r"^another run of 'demo' is in progress in "),
            folders.own_folder(tmp_path, record("a")),
        ):
            pytest.fail("it ran")
        assert finish(tmp_path, "b") == "demo-2"
        assert [run.state for run in listing.runs(tmp_path)] == ["running", "finished"]
        with pytest.raises(InputError, match="in progress"):
            listing.delete(tmp_path, "demo")


@pytest.mark.parametrize("name", ["artifacts", "cache", "llm"])
def test_a_name_that_lies_beside_the_runs_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"^name: found '{name}'"), folders.own_folder(tmp_path, record("a", name)):
        pytest.fail("it ran")


def use(root: Path, home: str, key: str, artifact: str) -> None:
    """Write what a run does that takes an artifact from the cache or puts it there."""
    folder = root / "artifacts" / artifact
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").write_bytes(b"x" * 1000)
    (folder.parent / "executor_output.json").write_text("{}")
    (root / "cache").mkdir(exist_ok=True)
    (root / "cache" / f"{key}.json").write_text("{}")
    with (root / home / "uses.jsonl").open("a") as stream:
        stream.write(json.dumps({"key": key, "artifacts": [artifact]}) + "\n")


def test_what_a_model_shares_with_its_artifact_counts_once(tmp_path: Path) -> None:
    finish(tmp_path, "a")
    before = listing.runs(tmp_path)[0].size
    use(tmp_path, "demo", "model", "pipeline-1/model/model")
    (tmp_path / "demo" / "model").mkdir()
    (tmp_path / "demo" / "model" / "data").hardlink_to(tmp_path / "artifacts/pipeline-1/model/model/data")
    (run,) = listing.runs(tmp_path)
    uses = (tmp_path / "demo" / "uses.jsonl").stat().st_size
    freed = run.size
    assert freed - before == 1000 + uses and listing.delete(tmp_path, "demo") == freed


def test_a_deleted_run_takes_with_it_what_only_it_uses(tmp_path: Path) -> None:
    for identity in ("a", "b"):
        finish(tmp_path, identity)
    use(tmp_path, "demo", "shared", "pipeline-1/preprocess/dataset")
    use(tmp_path, "demo", "first", "pipeline-1/evaluate/report")
    use(tmp_path, "demo-2", "shared", "pipeline-1/preprocess/dataset")
    use(tmp_path, "demo-2", "second", "pipeline-2/evaluate/report")
    with (tmp_path / "demo-2" / "uses.jsonl").open("a") as stream:
        stream.write('{"key": "cut by a ki')
    assert 1000 < listing.delete(tmp_path, "demo-2") < 3000
    assert not (tmp_path / "demo-2").exists() and not (tmp_path / "artifacts" / "pipeline-2").exists()
    assert (tmp_path / "artifacts" / "pipeline-1" / "preprocess" / "dataset" / "data").is_file()
    assert sorted(file.stem for file in (tmp_path / "cache").iterdir()) == ["first", "shared"]
    listing.delete(tmp_path, "demo")
    assert not list((tmp_path / "artifacts").iterdir()) and not list((tmp_path / "cache").iterdir())
    with pytest.raises(InputError, match=r"^no run 'demo' in .*; found none$"):
        listing.delete(tmp_path, "demo")


def test_the_list_says_accuracy_time_and_settings(tmp_path: Path) -> None:
    finish(tmp_path, "a")
    console = Console(width=120, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    listing.show(tmp_path, console)
    line = console.export_text().splitlines()[1]
    assert line.split()[:2] == ["demo", "50.0%"] and "60 s" in line and "seed=1" in line
    console.file.close()
