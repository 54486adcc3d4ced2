"""submit and status against an API of Kubeflow Pipelines, its errors included."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kfp_server import Backend, Command
from kubernetes_server import write_kubeconfig
from small_experiment import CONFIG

from components.contracts.errors import InputError, UnavailableError
from components.runtime.experiments import read_experiment_of_run
from pipelines.cluster import api
from pipelines.parameters import one_line

SUBMIT = ("submit", "--data", "s3://lab/my.pkl", "--config", "nw_ucla_quick", "--overlay", "gpu")


def test_submit_uploads_starts_and_follows(command: Command, backend: Backend) -> None:
    result = command(*SUBMIT, "--param", "gpus=2", "--set", "train.epochs=3", "--streams", "j,b")
    assert result.exit_code == 0, result.output
    (run,) = backend.runs.values()
    assert run["runtime_config"]["parameters"] == {
        "data": "s3://lab/my.pkl",
        "config": "nw_ucla_quick",
        "streams": "j,b",
        "gpus": "2",
        "overrides": {"train.epochs": 3},
    }
    (version,) = backend.versions.values()
    assert version.pipeline_spec["platform_spec"], "what the tasks ask of Kubernetes was not uploaded"
    inputs = version.pipeline_spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    assert "defaultValue" not in inputs["config"], "a colleague would get this experiment"
    assert inputs["node_selector"]["defaultValue"] == {"nvidia.com/gpu.present": "true"}
    assert "s3://bucket/my.pkl" in version.description, "the form for a run in the user interface describes nothing"
    for line in ("configure                running", "configure                succeeded", "train round 1 (2 streams)"):
        assert line in result.output
    assert "driver" not in result.output and f"#/runs/details/{run['run_id']}" in result.output


def test_layouts_and_priors_by_path_travel_with_the_run(command: Command, backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "hand.yaml").write_text("joints: [wrist, thumb]\nparents: {wrist: wrist, thumb: wrist}\n")
    (tmp_path / "mine.yaml").write_text("classes: [{name: wave, joints: [wrist], description: The hand waves.}]\n")
    config = {
        "name": "hands",
        "data": {
            "layout": "hand.yaml",
            "classes": ["wave", "rest"],
            "protocols": {"p": {"train": "train", "test": "test"}},
            "protocol": "p",
        },
        "train": {"epochs": 4, "batch": 4, "frames": 8},
        "agent": {"priors": "mine.yaml"},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    result = command("submit", "--data", "s3://lab/my.pkl", "--config", str(tmp_path / "my.yaml"))
    assert result.exit_code == 0, result.output
    (run,) = backend.runs.values()
    sent = run["runtime_config"]["parameters"]["config"]
    assert "hand.yaml" not in sent and "mine.yaml" not in sent
    assert read_experiment_of_run(sent, {}).data.skeleton.joints == ("wrist", "thumb")


def test_a_second_submit_reuses_the_version_and_the_experiment(command: Command, backend: Backend) -> None:
    for _ in range(2):
        assert command(*SUBMIT, "--no-follow").exit_code == 0
    assert (len(backend.pipelines), len(backend.versions), len(backend.experiments)) == (1, 1, 1)
    assert len(backend.runs) == 2


def test_without_following_only_the_id_is_printed_at_last(command: Command, backend: Backend) -> None:
    result = command(*SUBMIT, "--no-follow")
    assert result.output.splitlines()[-1] in backend.runs


def test_dry_run_asks_nobody(command: Command, backend: Backend) -> None:
    result = command(*SUBMIT, "--dry-run")
    assert result.exit_code == 0 and not backend.requests
    for text in ("config = 'nw_ucla_quick'", "data = 's3://lab/my.pkl'", "gpus = '1'", "agent_url = 'http://"):
        assert text in result.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data", "my.pkl"), "expected a URI that the cluster can read"),
        (("--param", "gpu=2"), "parameter gpu: unknown"),
        (("--overlay", "moon"), "overlay moon: no such folder"),
        (("--config", "absent.yaml"), "absent.yaml: cannot be read"),
        (("--data", "https://lab/my.pkl"), "expected a URI that the cluster can read"),
        (("--param", "gpus"), "--param: found 'gpus', expected KEY=VALUE such as gpus=2"),
        (("--param", "overrides=5", "--set", "seed=1"), "parameter overrides: found 5, expected a mapping"),
        (("--set", "train.epochz=4"), "train.epochz: no such key"),
        (("--set", "rounds=0"), "rounds: "),
        (("--rounds", "0"), "rounds: "),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(
    command: Command, backend: Backend, more: tuple[str, ...], message: str
) -> None:
    result = command(*SUBMIT, *more)
    assert isinstance(result.exception, InputError) and message in str(result.exception)
    assert not backend.requests


def test_a_parameter_of_the_wrong_type_is_refused_in_the_words_of_kfp(command: Command, backend: Backend) -> None:
    result = command(*SUBMIT, "--param", "tolerations=any")
    assert isinstance(result.exception, InputError)
    assert "HTTP 400: Failed to create a new run: parameter tolerations requires type LIST" in str(result.exception)


def test_settings_join_those_of_the_overlay_and_decide_the_rounds(
    command: Command, backend: Backend, tmp_path: Path
) -> None:
    overlay = own_overlay(tmp_path, "data: s3://lab/mine.pkl\noverrides: {seed: 7, train.epochs: 9}\n")
    (tmp_path / "mine.yaml").write_text(CONFIG)  # of two epochs, which are too few for three rounds
    more = ("--set", "train.epochs=4", "--set", "rounds=3", "--param", "accelerator=@lab/gpu", "--no-follow")
    result = command("submit", "--config", "mine.yaml", "--overlay", overlay, *more)
    assert result.exit_code == 0, result.exception
    (run,), (version,) = backend.runs.values(), backend.versions.values()
    assert run["runtime_config"]["parameters"] == {
        "config": one_line(yaml.safe_load(CONFIG)),
        "accelerator": "@lab/gpu",
        "overrides": {"seed": 7, "train.epochs": 4, "rounds": 3},
    }
    assert version.display_name.startswith("3-rounds-")


def own_overlay(folder: Path, run: str) -> str:
    """Write an overlay that has an image of somebody else's too."""
    images = "images: [{name: skeletonagent-train, newTag: '7.1'}, {name: redis, newTag: '7'}]"
    (folder / "kustomization.yaml").write_text(f"namespace: lab\n{images}\n")
    (folder / "run.yaml").write_text(run)
    return str(folder)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run.yaml", "gpus: 2", 'run.yaml: gpus: found 2, expected text, such as "1" in quotes'),
        ("run.yaml", "tolerations: any", "run.yaml: tolerations: found 'any', expected a list"),
        ("run.yaml", "gpu: '2'", "run.yaml: gpu: no such parameter"),
        ("compile.yaml", "nodes: 0", "nodes: Input should be greater than 0 (found 0)"),
        ("compile.yaml", "memory: null", "memory: no such key"),
        ("compile.yaml", "resources: {train: {cpu: lots, memory: 4Gi}}", "resources.train.cpu: "),
        ("compile.yaml", "resources: {training: {cpu: '1', memory: 4Gi}}", "resources.training"),
        ("kustomization.yaml", "namespace: lab\nimages: [{name: skeletonagent-trian, newTag: '1'}]", "'trian="),
    ],
)
def test_a_mistake_in_an_overlay_is_one_line(
    command: Command, backend: Backend, tmp_path: Path, file: str, text: str, message: str
) -> None:
    overlay = own_overlay(tmp_path, "")
    (tmp_path / file).write_text(text)
    result = command("submit", "--data", "s3://lab/my.pkl", "--overlay", overlay, "--param", "config=nw_ucla")
    assert isinstance(result.exception, InputError), result.output
    assert message in str(result.exception) and "\n" not in str(result.exception)


def test_a_server_that_is_away_for_a_while_does_not_end_the_showing(
    command: Command, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = iter(range(100))

    def sleep(_: float) -> None:
        backend.fault = (503, b"upstream connect error") if next(pauses) in (3, 4) else None

    monkeypatch.setattr("pipelines.cluster.watch.time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    result = command(*SUBMIT)
    assert result.exit_code == 0, result.exception
    assert result.output.count("HTTP 503: Service Unavailable; trying again") == 1 and "train round 1 " in result.output


def test_a_server_that_stays_away_ends_it(command: Command, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cluster.watch.PATIENCE_S", 0.01)
    run = command(*SUBMIT, "--no-follow").output.split()[-1]
    backend.asked = lambda: setattr(backend, "fault", (503, b""))
    result = command("status", run, "--follow")
    assert isinstance(result.exception, UnavailableError) and "HTTP 503" in str(result.exception)


def test_several_users_have_namespaces(command: Command, backend: Backend) -> None:
    backend.multi_user = True
    assert command(*SUBMIT).exit_code == 0
    (experiment,) = backend.experiments.values()
    assert experiment.namespace == "kubeflow"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((403, b"RBAC: access denied"), "refuses access (HTTP 403); KFP_TOKEN"),
        ((404, b"not found"), "has no API v2beta1"),
        ((500, b'{"code": 13, "message": "database\\n is gone"}'), "HTTP 500: database is gone"),
        ((502, b"<html>Bad gateway</html>"), "HTTP 502: Bad Gateway"),
        ((200, b"<html>some page</html>"), "does not answer like Kubeflow Pipelines"),
    ],
)
def test_faults_of_the_server_are_one_line(
    command: Command, backend: Backend, host: str, fault: tuple[int, bytes], message: str
) -> None:
    backend.fault = fault
    result = command("status")
    passing = UnavailableError if fault[0] in (500, 502) else InputError
    assert isinstance(result.exception, passing), result.output
    text = str(result.exception)
    assert text.startswith(host) and message in text and "\n" not in text


def test_a_server_that_does_not_answer_is_given_up(
    command: Command, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "TIMEOUT_S", 1)
    backend.delay_s = 3.0
    result = command("status")
    assert isinstance(result.exception, UnavailableError) and "no answer within 1 s" in str(result.exception)
    assert len(backend.requests) == 1


def test_a_server_that_is_not_there(command: Command) -> None:
    result = command("status", "--host", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9: cannot be reached: Connection refused" in str(result.exception)


def test_no_cluster_at_all(command: Command) -> None:
    result = command("status", "--host", "")
    assert "no cluster: no kubeconfig here, and KFP_HOST names no KFP" in str(result.exception)


def test_the_context_of_the_kubeconfig_counts_for_kfp_too(
    command: Command, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    write_kubeconfig(kubeconfig, {"a": "http://127.0.0.1:9", "b": host})
    assert "cannot be reached" in str(command("status", "--host", "").exception)
    named = command("status", "--host", "", "--context", "b")
    assert "cannot be reached" not in str(named.exception) and "kubeconfig's cluster" in str(named.exception)
    error = command("status", "--host", "", "--context", "c").exception
    assert isinstance(error, InputError) and str(error).endswith("expected one of the kubeconfig: a, b")


def test_a_server_that_is_too_old(command: Command, backend: Backend) -> None:
    backend.tag = "2.2.0"
    assert "Kubeflow Pipelines 2.2.0 is too old; 2.5 or newer is needed" in str(command("status").exception)


def test_a_token_is_sent_and_never_shown(command: Command, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.tokens = {"very-secret"}
    assert "refuses access (HTTP 401)" in str(command("status").exception)
    monkeypatch.setenv("KFP_TOKEN", "very-secret")
    result = command(*SUBMIT)
    assert result.exit_code == 0 and "very-secret" not in result.output


def test_status_shows_the_newest_run_or_the_one_that_is_named(command: Command, backend: Backend) -> None:
    assert "no runs yet" in str(command("status").exception)
    run = command(*SUBMIT, "--no-follow").output.split()[-1]
    command("status")  # KFP's first report is that of a run without tasks
    for arguments in (("status",), ("status", run)):
        result = command(*arguments)
        assert result.exit_code == 0 and run in result.output and "configure" in result.output
    assert "run nowhere: KFP knows no such run" in str(command("status", "nowhere").exception)


def test_an_experiment_too_large_for_a_parameter_is_refused_with_the_way_round(
    command: Command, backend: Backend, tmp_path: Path
) -> None:
    document = yaml.safe_load(CONFIG)
    document["data"]["classes"] = [f"performs the action number {number}" for number in range(5000)]
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(document))
    result = command("submit", "--data", "s3://lab/my.pkl", "--config", "large.yaml")
    assert isinstance(result.exception, InputError) and "\n" not in str(result.exception)
    assert "parameter config: " in str(result.exception) and "config=s3://bucket/my.yaml" in str(result.exception)
    assert not backend.requests


def test_an_experiment_in_the_bucket_is_named_and_not_sent(command: Command, backend: Backend) -> None:
    named = ("submit", "--data", "s3://lab/my.pkl", "--config", "s3://lab/my.yaml", "--no-follow")
    error = str(command(*named).exception)  # there is no store here that could tell its rounds
    assert "S3 credentials" in error and "with --rounds it is read on the cluster only" in error
    assert command(*named, "--rounds", "3").exit_code == 0
    (run,), (version,) = backend.runs.values(), backend.versions.values()
    assert run["runtime_config"]["parameters"]["config"] == "s3://lab/my.yaml"
    assert version.display_name.startswith("3-rounds-")


def test_two_experiments_share_one_version_of_the_pipeline(command: Command, backend: Backend) -> None:
    other = ("submit", "--data", "s3://lab/b.pkl", "--config", "sbu", "--overlay", "gpu", "--rounds", "2")
    for submitted in (SUBMIT, other):
        assert command(*submitted, "--no-follow").exit_code == 0
    assert len(backend.versions) == 1
