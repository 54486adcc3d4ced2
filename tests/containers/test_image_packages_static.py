"""What `make images` asks of the engine, and what pip then installs: by the lock, in both builds (needs no engine)."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("preprocess", "train", "agent", "evaluate")
TORCH = re.search(r"^TORCH +:= (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
ENGINE = """#!{python}
import json, sys
secrets = [open(word[len("id=pip,src="):]).read() for word in sys.argv if word.startswith("id=pip,")]
with open({log!r}, "a") as log:
    print(json.dumps(sys.argv[1:] + secrets), file=log)
print(1000000)
"""


def script(name: str) -> ModuleType:
    """Import a script of docker/, which is no package."""
    folder = str(ROOT / "docker")  # where a script finds its neighbours, when it is run
    if folder not in sys.path:
        sys.path.append(folder)
    specification = importlib.util.spec_from_file_location(f"docker_{name}", ROOT / "docker" / f"{name}.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return how build.py calls the engine for ``train``, last pip's settings: [without CUDA, with it]."""
    assert TORCH
    client, log = tmp_path / "bin" / "docker", tmp_path / "calls"
    client.parent.mkdir()
    client.write_text(ENGINE.format(python=sys.executable, log=str(log)))
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent), prepend=":")
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://config.example/simple\nretries = 7\nfind-links = /wheels-here\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_INDEX_URL", "https://environment.example/simple")
    build = script("build")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / f"{TORCH.group(1).replace('==', '-')}+cpu-cp311-cp311-any.whl").touch()
    monkeypatch.setattr(build, "WHEELS", wheels)
    for more in ([], ["--cuda"]):
        monkeypatch.setattr(sys, "argv", ["build.py", "train", "--torch", TORCH.group(1), *more])
        build.main()
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    return [call for call in calls if call[0] == "build"]


def test_without_a_build_for_cpus_the_image_gets_the_other_and_says_what_that_costs(
    builds: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a machine whose pip knows the usual index only."""
    assert TORCH
    build, log = script("build"), tmp_path / "calls"
    log.unlink()
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(build, "WHEELS", tmp_path / "no wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "none"))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["build.py", "train", "--torch", TORCH.group(1)])
    build.main()
    (call,) = [call for call in map(json.loads, log.read_text().splitlines()) if call[0] == "build"]
    assert build_arguments(call)["TORCH"] == build_arguments(builds[1])["TORCH"]
    assert "5.1 GB instead of 0.95" in capsys.readouterr().out


def build_arguments(call: list[str]) -> dict[str, str]:
    pairs = [call[place + 1] for place, word in enumerate(call) if word == "--build-arg"]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def test_the_builds_of_train_differ_in_torch_only(builds: list[list[str]]) -> None:
    """And each asks for a version of torch that only its own build can be."""
    cpu, cuda = map(build_arguments, builds)
    assert {name for name in cpu | cuda if cpu.get(name) != cuda.get(name)} == {"TORCH"}
    version = TORCH.group(1).partition("==")[2] if TORCH else ""
    offered = [Version(f"{version}{local}") for local in ("+cpu", "", "+cu130")]
    assert list(Requirement(cpu["TORCH"]).specifier.filter(offered)) == offered[:1]
    assert list(Requirement(cuda["TORCH"]).specifier.filter(offered)) == offered[1:]


def test_every_argument_is_known_to_the_dockerfile(builds: list[list[str]]) -> None:
    """An unknown one would be ignored; one without a value would leave the default."""
    known = set(re.findall(r"^ARG (\w+)", (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    for call in builds:
        arguments = build_arguments(call)
        assert set(arguments) <= known
        assert all(arguments.values())


def test_pip_in_the_build_has_the_settings_of_this_machine(builds: list[list[str]]) -> None:
    """The environment's before the file's, and no folder of this machine; by a secret, not by an argument."""
    for *call, settings in builds:
        assert "index-url = https://environment.example/simple\n" in settings
        assert "retries = 7\n" in settings
        assert "config.example" not in settings
        assert "/wheels-here" not in settings
        assert ".example" not in " ".join(call)


def closure(names: list[str]) -> dict[str, list[Requirement]]:
    """Return every package that the given requirements bring, with the requirements for it, as installed here.

    torch's build with CUDA brings packages besides; those of ``UNLOCKED`` are left out.
    """
    unlocked = script("requirements").UNLOCKED
    found: dict[str, list[Requirement]] = {}
    todo, seen = [Requirement(name) for name in names], set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        found.setdefault(name, []).append(requirement)
        key = (name, frozenset(requirement.extras))
        if key in seen or (unlocked.fullmatch(name) and name != "torch"):
            continue
        seen.add(key)
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(needed)
    return {name: needs for name, needs in found.items() if not unlocked.fullmatch(name)}


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_a_stage_brings_is_locked_in_a_version_that_fits(stage: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE)
    }
    brought = closure([*project["dependencies"], *project["optional-dependencies"][stage]])
    assert brought
    assert not {name for name in brought if name not in locked}
    for name, needs in brought.items():
        for requirement in needs:
            assert requirement.specifier.contains(locked[name], prereleases=True), f"{requirement}: {locked[name]}"
