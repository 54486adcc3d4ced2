"""Small documents in a folder, shared by processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from document_checks import check_reading_listing_removing

from components.contracts.errors import InputError
from components.runtime.store import LocalDocuments, documents_at

COUNT = """
import sys, time
from pathlib import Path
from components.runtime.store import LocalDocuments
documents = LocalDocuments(Path(sys.argv[1]))
for _ in range(50):
    while (claim := documents.claim("counter")) is None:
        time.sleep(0.001)
    number = int(documents.read("count") or b"0")
    documents.write("count", str(number + 1).encode())
    claim.release()
"""
DIE = """
import os, sys
from pathlib import Path
from components.runtime.store import LocalDocuments
assert LocalDocuments(Path(sys.argv[1])).claim("q")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def documents(tmp_path: Path) -> LocalDocuments:
    documents = LocalDocuments(tmp_path / "d")
    documents.check()
    return documents


def test_documents_are_read_listed_and_removed(documents: LocalDocuments) -> None:
    check_reading_listing_removing(documents)
    assert documents.read("log") == b"one\ntwo\n"


def test_claims_exclude_each_other_between_processes(documents: LocalDocuments, repository: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNT, documents.place], cwd=repository, env={"PYTHONPATH": ""})
        for _ in range(3)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert documents.read("count") == b"150"
    assert documents.names("claims") == []


def test_a_claim_is_one_persons_until_it_is_released_or_its_owner_dies(
    documents: LocalDocuments, repository: Path
) -> None:
    claim = documents.claim("q")
    assert claim is not None and claim.held()
    assert documents.claim("q") is None
    assert documents.claim("other") is not None
    claim.release()
    subprocess.run([sys.executable, "-c", DIE, documents.place], cwd=repository, env={"PYTHONPATH": ""}, check=False)
    assert documents.claim("q") is not None


def test_what_fails_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: File exists"):
        LocalDocuments(tmp_path / "file").check()
    with pytest.raises(InputError, match="absent: No such file or directory"):
        LocalDocuments(tmp_path / "absent").write("a/b", b"")
    with pytest.raises(InputError, match="ftp://x/y: scheme 'ftp' is not supported"):
        documents_at("ftp://x/y")
