"""Small documents in a folder, shared by processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from document_checks import check_claims, check_reading_and_replacing

from components.contracts.errors import InputError, ResourceError
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
assert LocalDocuments(Path(sys.argv[1])).claim("dead")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def documents(tmp_path: Path) -> LocalDocuments:
    documents = LocalDocuments(tmp_path / "d")
    documents.prepare()
    return documents


def test_documents_are_read_and_replaced(documents: LocalDocuments) -> None:
    check_reading_and_replacing(documents)
    assert documents.read("log") == b"one\ntwo\n"


def test_claims_exclude_each_other_between_processes(documents: LocalDocuments, repository: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNT, documents.place], cwd=repository, env={"PYTHONPATH": ""})
        for _ in range(3)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert documents.read("count") == b"150"
    assert not [*Path(documents.place, "claims").iterdir()]


def test_a_claim_is_one_persons_until_it_is_released_or_its_owner_dies(
    documents: LocalDocuments, repository: Path
) -> None:
    check_claims(documents)
    subprocess.run([sys.executable, "-c", DIE, documents.place], cwd=repository, env={"PYTHONPATH": ""}, check=False)
    assert documents.claim("dead") is not None


def test_what_fails_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: File exists"):
        LocalDocuments(tmp_path / "file").prepare()
    with pytest.raises(ResourceError, match="absent: No such file or directory"):
        LocalDocuments(tmp_path / "absent").write("a/b", b"")
    with pytest.raises(InputError, match="ftp://x/y: scheme 'ftp' is not supported"):
        documents_at("ftp://x/y")


@pytest.mark.parametrize("made_again", [False, True])
def test_a_folder_that_was_unmounted_is_neither_used_nor_made_anew(documents: LocalDocuments, made_again: bool) -> None:
    """What an unmounted file system leaves is nothing, or the empty folder that it was mounted on."""
    folder = Path(documents.place)
    folder.rename(folder.with_name("elsewhere"))
    if made_again:
        folder.mkdir()
    for action in (documents.check, lambda: documents.write("a", b""), lambda: documents.read("a")):
        with pytest.raises(ResourceError, match=f"^{folder}: (No such file|another folder is there now)"):
            action()
    assert folder.exists() == made_again and not (made_again and any(folder.iterdir()))
    shutil.rmtree(folder, ignore_errors=True)


def test_a_full_disk_leaves_no_part(small_disk: Path) -> None:
    documents = LocalDocuments(small_disk)
    documents.prepare()
    documents.write("before", b"kept")
    with pytest.raises(ResourceError, match="No space left on device"):
        documents.write("long", bytes(100_000))
    assert [entry.name for entry in small_disk.iterdir()] == ["before"]
    assert documents.read("before") == b"kept"
