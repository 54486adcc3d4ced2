"""Where artifacts live, behind one small interface: a URI is fetched to a local path, a path published to a URI.

Stages work on local paths only (``core.py`` never sees a URI); their command lines translate with
``store_for``. A URI is a plain path, or ``s3://bucket/prefix`` (``minio://``, as KFP writes it, is the same).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.contracts.errors import InputError
from components.runtime.store.interface import Claim, Documents, Meter, Store, unseen
from components.runtime.store.local import LocalDocuments, LocalStore

__all__ = [
    "Claim",
    "Documents",
    "LocalDocuments",
    "LocalStore",
    "Meter",
    "Store",
    "documents_at",
    "is_remote",
    "is_within",
    "store_for",
]

S3_SCHEMES = ("s3", "minio")
"""``minio``: as KFP writes it; the same."""


def is_remote(uri: str) -> bool:
    """Tell whether a URI names a place in an object store, not a path of this machine.

    Raises:
        InputError: no store serves its scheme.
    """
    scheme, separator, _ = uri.partition("://")  # not urlsplit, for which "my:file.pkl" has a scheme
    if not separator or scheme.lower() in S3_SCHEMES:
        return bool(separator)
    raise InputError(f"scheme {scheme!r} is not supported; expected a local path or s3://bucket/prefix", at=uri)


def store_for(uri: str, meter: Meter = unseen) -> Store:
    """Return the store that a URI belongs to; ``meter`` shows its transfers.

    Raises:
        InputError: no store serves the scheme, or the environment lacks what the store needs.
    """
    if not is_remote(uri):
        return LocalStore()
    from components.runtime.store.s3 import S3Store  # only who uses S3 pays for the import of its client

    return S3Store(meter)


def documents_at(place: str) -> Documents:
    """Return the documents in a folder or below ``s3://bucket/prefix``.

    Raises:
        InputError: another kind of URI, or the environment lacks what the object store needs.
    """
    if not is_remote(place):
        return LocalDocuments(Path(place))
    from components.runtime.store.documents_s3 import S3Documents  # only who uses S3 pays for the import

    return S3Documents(place)


def is_within(uri: str, places: Iterable[str]) -> bool:
    """Tell whether an object's URI lies below one of ``places``, each ``s3://bucket`` or ``s3://bucket/prefix``."""

    def taken_apart(place: str) -> list[str] | None:
        scheme, _, rest = place.partition("://")
        names = [name for name in rest.split("/") if name]
        return names if scheme in S3_SCHEMES and names and not {".", ".."} & {*names} else None

    found = taken_apart(uri)
    return found is not None and any(
        allowed is not None and found[: len(allowed)] == allowed for allowed in map(taken_apart, places)
    )
