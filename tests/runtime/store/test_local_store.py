"""The local store, and what the command lines make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_artifacts import write_scores

from components.contracts import scores
from components.contracts.artifact import digest
from components.contracts.errors import InputError
from components.runtime.cli import Exchange
from components.runtime.store import LocalStore, store_for


def test_fetch_hands_out_the_path_itself(tmp_path: Path) -> None:
    write_scores(tmp_path / "s")
    assert LocalStore().fetch(str(tmp_path / "s"), tmp_path / "into") == tmp_path / "s"
    assert not (tmp_path / "into").exists()


def test_fetching_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file or directory"):
        LocalStore().fetch(str(tmp_path / "nowhere"), tmp_path)
    assert not LocalStore().exists(str(tmp_path / "nowhere"))


def test_a_published_artifact_replaces_the_old_one(tmp_path: Path) -> None:
    write_scores(tmp_path / "new", 1)
    target = tmp_path / "deep" / "target"
    write_scores(target, 0)
    (target / "left over").touch()
    LocalStore().publish(tmp_path / "new", str(target))
    assert scores.open(target).digest == digest(tmp_path / "new")
    assert not (target / "left over").exists()
    assert [entry.name for entry in target.parent.iterdir()] == ["target"]


def test_a_file_is_published(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    LocalStore().publish(tmp_path / "file", str(tmp_path / "deep" / "copy"))
    assert (tmp_path / "deep" / "copy").read_text() == "content"
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["copy"]


def test_publishing_onto_itself_changes_nothing(tmp_path: Path) -> None:
    write_scores(tmp_path / "s")
    before = digest(tmp_path / "s")
    LocalStore().publish(tmp_path / "s", str(tmp_path / "x" / ".." / "s"))
    assert digest(tmp_path / "s") == before


@pytest.mark.parametrize("uri", ["ftp://host/x", "gopher://x", "HTTP://x/y"])
def test_an_unknown_scheme_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="is not supported"):
        store_for(uri)


@pytest.mark.parametrize("path", ["a/b", "/a/b", "./a b", "~a", "ä"])
def test_paths_belong_to_the_local_store(path: str) -> None:
    assert isinstance(store_for(path), LocalStore)


def test_exchange_refuses_an_unknown_output_before_the_stage_works() -> None:
    with pytest.raises(InputError), Exchange() as exchange:
        exchange.output("ftp://host/x")
