"""The connection to an S3 server: settings from the environment, patience with it, its errors in plain words."""

from __future__ import annotations

import difflib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError

from components.contracts.errors import InputError, ResourceError, SkeletonAgentError, UnavailableError

PATIENCE_S = 60.0
"""For how long a server may answer nothing before a transfer is given up."""
CHECK_PATIENCE_S = 4.0
"""The same where nothing would be lost yet."""
PARALLEL = 8
"""Requests under way at once."""

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables whose values may stand in no log."""
ENDPOINTS = ("S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Where the server is; the first that is set counts."""
VARIABLES = (
    *CREDENTIALS,
    "AWS_SESSION_TOKEN",
    *ENDPOINTS,
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    "S3_PATH_STYLE",
)
"""All variables of the environment that the store reads, beside those of a proxy."""
AMAZON = "https://s3.amazonaws.com"

_ATTEMPTS = 3  # at least, however long each took
_QUIET_S = 5.0  # a user who has waited this long is told why
_BUSY = (429, 500, 502, 503, 504)
_REFUSED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity")

_log = logging.getLogger("skeletonagent.store")
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """Where the server is and who we are; the secrets stay out of every representation."""

    endpoint: str
    region: str | None
    ca_bundle: str | None
    path_style: bool
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; ``InputError`` names the variable that is missing or wrong."""
        missing = [name for name in CREDENTIALS if not environment.get(name)]
        if missing:
            names = ", ".join(f"{name}{_misspelt(name, environment)}" for name in missing)
            raise InputError(f"S3 credentials: environment variable not set: {names}")
        for name in (*CREDENTIALS, "AWS_SESSION_TOKEN"):
            if re.search(r"\s", environment.get(name, "")):  # such as the line break of a carelessly made secret
                raise InputError("contains white space or a line break", at=name)
        source = next((name for name in ENDPOINTS if environment.get(name)), ENDPOINTS[0])
        endpoint = environment.get(source) or AMAZON
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
            raise InputError(f"found {endpoint!r}, expected http://host:port or https://host:port", at=source)
        amazon = parts.hostname.endswith(".amazonaws.com")
        bundle = environment.get("AWS_CA_BUNDLE") or None
        if bundle and not Path(bundle).is_file():
            raise InputError(f"{bundle}: no such file", at="AWS_CA_BUNDLE")
        style = environment.get("S3_PATH_STYLE", "").lower()
        if style not in ("", "true", "false"):
            raise InputError(f"found {style!r}, expected true or false", at="S3_PATH_STYLE")
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        return cls(
            endpoint=endpoint.rstrip("/"),
            region=region or (None if amazon else "us-east-1"),
            ca_bundle=bundle,
            path_style=style == "true" if style else not amazon,
            access_key=environment[CREDENTIALS[0]],
            secret_key=environment[CREDENTIALS[1]],
            session_token=environment.get("AWS_SESSION_TOKEN") or None,
        )


def _misspelt(name: str, environment: Mapping[str, str]) -> str:
    """Return a hint at the variable that was set and looks as if it were meant to be ``name``."""
    unknown = [other for other in environment if other.startswith(("AWS_", "S3_")) and other not in VARIABLES]
    near = difflib.get_close_matches(name, unknown, 1, cutoff=0.8)
    return f" (but {near[0]} is)" if near else ""


class BusyError(Exception):
    """The server answered that it cannot serve now."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")


class NoBucketError(Exception):
    """The server has no such bucket."""


class Patience:
    """Repeats a request that met no answer, for ``seconds``.

    When one request has been given up, those beside and after it are tried once, until something succeeds again.
    """

    def __init__(self, endpoint: str, seconds: float) -> None:
        self._endpoint = endpoint
        self._seconds = seconds
        self._given_up = False
        self._told = False

    def __call__(self, request: Callable[[], T]) -> T:
        """Return the request's result, after repeating it as often as it takes."""
        failing_since: float | None = None

        def exhausted(state: RetryCallState) -> bool:
            nonlocal failing_since
            now = time.monotonic()
            failing_since = failing_since or now
            if now - failing_since >= self._seconds and state.attempt_number >= _ATTEMPTS:
                self._given_up = True
            elif now - failing_since > _QUIET_S:
                self._tell(state.outcome.exception() if state.outcome else None)
            return self._given_up

        result = Retrying(
            retry=retry_if_exception(_passing),
            wait=wait_random_exponential(0.2, max=5.0),
            stop=exhausted,
            reraise=True,
        )(request)
        self._given_up = self._told = False
        return result

    def _tell(self, error: BaseException | None) -> None:
        if not self._told:
            self._told = True
            _log.warning("%s: %s; trying again for %.0f s", self._endpoint, _reason(error), self._seconds)


def _passing(error: BaseException) -> bool:
    return isinstance(error, HTTPError | BusyError) and not _untrusted(error)


class _Patient:
    """Repeats the requests of a pool that met no answer. They are idempotent: whole objects, numbered parts."""

    patience: Patience

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> urllib3.BaseHTTPResponse:
        def request() -> urllib3.BaseHTTPResponse:
            response: urllib3.BaseHTTPResponse = super(_Patient, self).urlopen(  # type: ignore[misc]
                method, url, redirect=redirect, **options
            )
            if response.status in _BUSY:
                response.drain_conn()
                response.release_conn()
                raise BusyError(response.status)
            return response

        return self.patience(request)


class _PatientPool(_Patient, urllib3.PoolManager):  # type: ignore[misc]
    pass


class _PatientProxy(_Patient, urllib3.ProxyManager):  # type: ignore[misc]
    pass


def _pool(endpoint: str, **settings: Any) -> _PatientPool | _PatientProxy:
    """Return a pool of connections, through the proxy of ``HTTP(S)_PROXY`` unless ``NO_PROXY`` names the host."""
    parts = urlsplit(endpoint)
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if not proxy:
        return _PatientPool(**settings)
    address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise InputError("found no URL, expected http://host:port", at=f"{parts.scheme.upper()}_PROXY")
    login = f"{unquote(address.username)}:{unquote(address.password or '')}" if address.username else None
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    host = f"[{address.hostname}]" if ":" in address.hostname else address.hostname
    netloc = f"{host}:{address.port}" if address.port else host
    return _PatientProxy(f"{address.scheme}://{netloc}", proxy_headers=headers, **settings)


def connect(settings: Settings, patience: Patience) -> Minio:
    """Return a client; nothing is sent yet."""
    pool = _pool(
        settings.endpoint,
        timeout=urllib3.Timeout(connect=10.0, read=60.0),
        maxsize=PARALLEL,
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=settings.ca_bundle or certifi.where(),
    )
    pool.patience = patience
    parts = urlsplit(settings.endpoint)
    client = Minio(
        parts.netloc,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        session_token=settings.session_token,
        secure=parts.scheme == "https",
        region=settings.region,
        http_client=pool,
    )
    if settings.path_style:
        client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    else:
        client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    return client


@contextmanager
def told(uri: str, bucket: str, endpoint: str) -> Iterator[None]:
    """Turn whatever a request to the server fails with into an error of the tree that begins with ``uri``.

    Raises:
        InputError: the bucket, the credentials or the address is wrong.
        UnavailableError: the server cannot be reached, or cannot serve now.
        ResourceError: this machine could not read or write the local copy.
    """
    try:
        yield
    except (MinioException, HTTPError, BusyError, NoBucketError) as error:
        raise _failure(error, uri, bucket, endpoint) from None
    except OSError as error:
        raise ResourceError(f"its local copy: {error.strerror or error}", at=uri) from None


def _failure(error: Exception, uri: str, bucket: str, endpoint: str) -> SkeletonAgentError:
    """Say in one line, without secrets, what a failed request means to the user."""
    if isinstance(error, NoBucketError) or getattr(error, "code", "") == "NoSuchBucket":
        return InputError(f"no bucket {bucket!r} at {endpoint}", at=uri)
    if isinstance(error, S3Error):
        if error.code in _REFUSED:
            names = ", ".join(CREDENTIALS)
            return InputError(f"{endpoint} refuses the credentials of {names} ({error.code})", at=uri)
        if error.code == "AccessDenied":
            return InputError(f"{endpoint} denies access to it with these credentials", at=uri)
        return UnavailableError(" ".join(f"{endpoint}: {error.code}: {error.message}".split()), at=uri)
    if isinstance(error, InvalidResponseError):
        return InputError(f"{endpoint} does not answer like an S3 server; check S3_ENDPOINT", at=uri)
    if _untrusted(error):
        reason = f"its certificate is not trusted ({_reason(error)})"
        return InputError(f"{endpoint}: {reason}; AWS_CA_BUNDLE names the authorities", at=uri)
    return UnavailableError(f"{endpoint} cannot be reached: {_reason(error)}", at=uri)


def _untrusted(error: BaseException) -> bool:
    cause = error.reason if isinstance(error, MaxRetryError) else error
    return isinstance(cause, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(cause)


def _reason(error: BaseException | None) -> str:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    inner = cause.__cause__ if isinstance(cause, NewConnectionError) and cause.__cause__ else cause
    text = getattr(inner, "strerror", None) or str(inner)
    return " ".join(text.split())
