"""Where artifacts live, behind one small interface: a URI is fetched to a local path, a path published to a URI.

Stages work on local paths only (``core.py`` never sees a URI); their command lines translate with
``store_for``. A URI is a plain path, or ``s3://bucket/prefix`` (``minio://``, as KFP writes it, is the same).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from components.contracts.errors import InputError
from components.runtime.store.interface import Claim, Documents, Meter, Store, unseen
from components.runtime.store.local import LocalDocuments, LocalStore

__all__ = ["Claim", "Documents", "LocalDocuments", "LocalStore", "Meter", "Store", "documents_at", "store_for"]

S3_SCHEMES = ("s3", "minio")


def store_for(uri: str, meter: Meter = unseen) -> Store:
    """Return the store that a URI belongs to; ``meter`` shows its transfers.

    Raises:
        InputError: no store serves the scheme, or the environment lacks what the store needs.
    """
    scheme = urlsplit(uri).scheme
    if scheme == "":
        return LocalStore()
    if scheme in S3_SCHEMES:
        from components.runtime.store.s3 import S3Store  # only who uses S3 pays for the import of its client

        return S3Store(meter)
    raise InputError(f"scheme {scheme!r} is not supported; expected a local path or s3://bucket/prefix", at=uri)


def documents_at(place: str) -> Documents:
    """Return the documents in a folder or below ``s3://bucket/prefix``.

    Raises:
        InputError: another kind of URI, or the environment lacks what the object store needs.
    """
    scheme = urlsplit(place).scheme
    if scheme == "":
        return LocalDocuments(Path(place))
    if scheme in S3_SCHEMES:
        from components.runtime.store.documents_s3 import S3Documents  # only who uses S3 pays for the import

        return S3Documents(place)
    raise InputError(f"scheme {scheme!r} is not supported; expected a local path or s3://bucket/prefix", at=place)
