"""What documents do wherever they are kept: on a disk or in a bucket."""

from __future__ import annotations

from components.runtime.store import Documents


def check_reading_listing_removing(documents: Documents) -> None:
    """Write, list, replace and remove; two lines are left appended to ``log``."""
    assert documents.read("a/b.json") is None
    assert documents.names("a") == []
    documents.write("a/b.json", b"1")
    documents.write("a/b.json", b"22")
    documents.write("a/c/d.json", b"")
    documents.append("log", "one")
    documents.append("log", "two")
    assert documents.read("a/b.json") == b"22"
    assert documents.names("a") == ["b.json", "c"]
    documents.remove("a/b.json")
    documents.remove("a/b.json")
    assert documents.read("a/b.json") is None
