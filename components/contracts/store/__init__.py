"""Where artifacts live, behind one small interface: a URI is fetched to a local path, a path published to a URI.

Stages work on local paths only (``core.py`` never sees a URI); their command lines translate with
``store_for``. A URI is a plain path, or ``s3://bucket/prefix`` (``minio://``, as KFP writes it, is the same).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from components.contracts.errors import InputError
from components.contracts.store.interface import Meter, Store, unseen
from components.contracts.store.local import LocalStore

__all__ = ["LocalStore", "Meter", "Store", "store_for"]

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
        from components.contracts.store.s3 import S3Store  # only who uses S3 pays for the import of its client

        return S3Store(meter)
    raise InputError(f"{uri}: scheme {scheme!r} is not supported; expected a local path or s3://bucket/prefix")
