"""What documents do wherever they are kept: on a disk or in a bucket."""

from __future__ import annotations

from components.runtime.store import Documents


def check_reading_and_replacing(documents: Documents) -> None:
    """Write, replace and read; two lines are left appended to ``log``."""
    assert documents.read("a/b.json") is None
    documents.write("a/b.json", b"1")
    documents.write("a/b.json", b"22")
    documents.write("a/c/d.json", b"")
    documents.append("log", "one")
    documents.append("log", "two")
    assert (documents.read("a/b.json"), documents.read("a/c/d.json")) == (b"22", b"")


def check_claims(documents: Documents) -> None:
    """One has a claim until it is released."""
    claim = documents.claim("q")
    assert claim is not None and documents.claim("q") is None
    assert documents.claim("other") is not None
    claim.release()
    assert documents.claim("q") is not None
