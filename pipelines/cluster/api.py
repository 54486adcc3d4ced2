"""The API of Kubeflow Pipelines: connect, upload, run, ask; its errors in one line."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import kfp
import kfp_server_api
import urllib3
from kubernetes import config as kube_config
from packaging.version import InvalidVersion, Version

from components.contracts.errors import InputError, UnavailableError
from pipelines.cluster.package import NAME, Package

HOST_VARIABLE = "KFP_HOST"
UI_VARIABLE = "KFP_UI"
TOKEN_VARIABLE = "KFP_TOKEN"
TIMEOUT_S = 30
OLDEST = Version("2.5")
"""KFP's first version that takes node selectors, tolerations and Secret names as parameters."""
_PASSING = (429, 500, 502, 503, 504)
"""How a server answers, or what stands before it, that is being restarted or has too much to do."""


class _Client(kfp.Client):  # type: ignore[misc]
    """KFP's client, which asks for its server's health once instead of five times with pauses, and not for ever."""

    def get_kfp_healthz(self, sleep_duration: int = 5) -> kfp_server_api.V2beta1GetHealthzResponse:
        _time_out(self)
        return self._healthz_api.healthz_service_get_healthz()


@dataclass(frozen=True)
class Server:
    """A connection; ``namespace`` is empty where KFP has a single user; ``named``: ``host`` was given, and is not the
    kubeconfig's way to it."""

    client: kfp.Client
    host: str
    namespace: str
    named: bool = True

    def upload(self, package: Package, description: str = "") -> tuple[str, str, bool]:
        """Upload a package as a version of our pipeline, unless it is there. Its description says what the user
        interface's form for a run does not: what each parameter means.

        Returns:
            Id of the pipeline, id of the version, and whether it was new.
        """
        with explained(self.host):
            pipeline = self.client.get_pipeline_id(NAME) or self._create_pipeline(package)
            if version := self.version_id(pipeline, package.version):
                return pipeline, version, False
            made = self.client.upload_pipeline_version(
                str(package.file), package.version, pipeline_id=pipeline, description=description or package.description
            )
            return pipeline, made.pipeline_version_id, True

    def version_id(self, pipeline: str, name: str) -> str | None:
        """Return the id of a version of a pipeline by its name."""
        predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        found = self.client.list_pipeline_versions(pipeline, filter=json.dumps({"predicates": [predicate]}))
        return found.pipeline_versions[0].pipeline_version_id if found.pipeline_versions else None

    def start(self, pipeline: str, version: str, *, name: str, experiment: str, values: dict[str, Any]) -> str:
        """Start a run of an uploaded version and return its id."""
        with explained(self.host):
            group = self.client.create_experiment(experiment, namespace=self.namespace or None)
            run = self.client.run_pipeline(
                group.experiment_id, name, params=values, pipeline_id=pipeline, version_id=version
            )
            return str(run.run_id)

    def run(self, run_id: str) -> kfp_server_api.V2beta1Run:
        """Return what KFP knows of a run."""
        with explained(self.host, missing=f"run {run_id}: KFP knows no such run"):
            return self.client.get_run(run_id)

    def latest(self) -> str:
        """Return the id of the newest run."""
        with explained(self.host):
            found = self.client.list_runs(page_size=1, sort_by="created_at desc", namespace=self.namespace or None)
        if not found.runs:
            raise InputError("no runs yet; make submit starts one")
        return str(found.runs[0].run_id)

    def link(self, run_id: str) -> str:
        """Return the address of a run in the user interface, or how to get there.

        ``KFP_UI`` names the interface. What ``KFP_HOST`` names may be it too, since it passes on the API, or may be the
        API alone, which has no pages.
        """
        path = f"/#/runs/details/{run_id}"
        if ui := os.environ.get(UI_VARIABLE, ""):
            return ui.rstrip("/") + path
        if self._serves_pages():
            return self.host + path
        namespace = self.namespace or "kubeflow"
        forward = f"kubectl -n {namespace} port-forward svc/ml-pipeline-ui 8080:80"
        return f"{forward}, then http://localhost:8080{path} ({UI_VARIABLE} names another address)"

    def _serves_pages(self) -> bool:
        """Tell whether the server answers a browser; the kubeconfig's way to the API is none for a browser."""
        if not self.named:
            return False
        rest = self.client._run_api.api_client.rest_client
        headers = {"Accept": "text/html"}
        try:
            answer = rest.pool_manager.request(
                "GET", f"{self.host}/", headers=headers, timeout=TIMEOUT_S, retries=False
            )
        except urllib3.exceptions.HTTPError:
            return False
        return bool(answer.status == 200 and "text/html" in answer.headers.get("Content-Type", ""))

    def _create_pipeline(self, package: Package) -> str:
        body = kfp_server_api.V2beta1Pipeline(
            display_name=NAME,
            name=NAME,
            description=package.description,
            namespace=self.namespace,
        )
        return str(self.client._pipelines_api.pipeline_service_create_pipeline(pipeline=body).pipeline_id)


def connect(host: str, namespace: str, context: str = "") -> Server:
    """Connect to KFP and see whether it is there and new enough.

    Args:
        host: its URL; empty: through the kubeconfig's cluster, as ``kubectl`` would.
        namespace: of the runs, where KFP has several users.
        context: of the kubeconfig; empty: its current one. It does not count where there is a ``host``.
    """
    if not host:
        _need_kubeconfig(context)
    token = (host and os.environ.get(TOKEN_VARIABLE)) or None  # with one, KFP's client leaves the kubeconfig alone
    named = host or "KFP (through the kubeconfig's cluster)"
    with explained(named), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = _Client(host=host or None, existing_token=token, kube_context=context or None)
        health = client.get_kfp_healthz()
        _check_version(client, named)
    address = host.rstrip("/") or client._existing_config.host
    return Server(client, address, namespace if health.multi_user else "", named=bool(host))


@contextlib.contextmanager
def explained(host: str, missing: str = "") -> Iterator[None]:
    """Turn what goes wrong between us and KFP into an error of the tree; swallow what its client prints."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except kfp_server_api.ApiException as error:
        if missing and error.status == 404:
            raise InputError(missing) from None
        kind = UnavailableError if error.status in _PASSING else InputError
        raise kind(_reason(error), at=host) from None
    except urllib3.exceptions.HTTPError as error:
        raise UnavailableError(_unanswered(error), at=host) from None


def _unanswered(error: urllib3.exceptions.HTTPError) -> str:
    cause = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not isinstance(
        cause, urllib3.exceptions.NewConnectionError
    ):
        return f"no answer within {TIMEOUT_S} s"
    return f"cannot be reached: {getattr(cause.__cause__, 'strerror', None) or str(cause).rpartition(': ')[2]}"


def _reason(error: kfp_server_api.ApiException) -> str:
    if error.status in (401, 403):
        return f"refuses access (HTTP {error.status}); {TOKEN_VARIABLE} holds a token, if it wants one"
    if error.status == 404:
        return "has no API v2beta1; Kubeflow Pipelines 2 is needed, at its address without a path"
    try:
        body = json.loads(error.body)
        text = body.get("message") or body.get("error_message") or body.get("error") or error.reason
    except (TypeError, ValueError, AttributeError):
        text = error.reason
    return f"HTTP {error.status}: {' '.join(str(text).split())}"


def _need_kubeconfig(context: str) -> None:
    try:
        contexts, _ = kube_config.list_kube_config_contexts()
    except kube_config.ConfigException:
        raise InputError(f"no cluster: no kubeconfig here, and {HOST_VARIABLE} names no KFP (--host)") from None
    known = [about["name"] for about in contexts]
    if context and context not in known:
        raise InputError(f"--context: found {context!r}, expected one of the kubeconfig: {', '.join(known)}")


def _time_out(client: kfp.Client) -> None:
    """Give every request a time-out; KFP's client has none."""
    rest = client._run_api.api_client.rest_client
    rest.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(connect=1, read=0, redirect=3)
    if not isinstance(rest.request, functools.partial):
        rest.request = functools.partial(_with_timeout, rest.request)


def _with_timeout(request: Any, *arguments: Any, **options: Any) -> Any:
    options["_request_timeout"] = options.get("_request_timeout") or TIMEOUT_S
    return request(*arguments, **options)


def _check_version(client: kfp.Client, host: str) -> None:
    """Refuse a server that is known to be too old; the API of version 1 beside the new one tells its release."""
    try:
        body, _, _ = client._run_api.api_client.call_api(
            "/apis/v1beta1/healthz", "GET", response_type="object", _return_http_data_only=False
        )
        if not isinstance(body, dict):
            raise InputError("does not answer like Kubeflow Pipelines; is it the address of its API?", at=host)
        version = Version(str(body.get("tag_name", "")))
    except (kfp_server_api.ApiException, InvalidVersion):
        return
    if version < OLDEST:
        raise InputError(f"Kubeflow Pipelines {version} is too old; {OLDEST} or newer is needed")
