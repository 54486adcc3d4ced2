"""Which build of torch an environment and an image get, where pip knows both, one, or none (needs no engine)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from test_image_packages_static import script

PIP = """import json, os, sys
with open({log!r}, "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
if any({unknown!r} in word for word in sys.argv):
    sys.exit("ERROR: No matching distribution found for torch")
"""


@pytest.fixture
def torch_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script on a Linux machine without a GPU, with a pip that knows no build without CUDA."""
    module = script("torch_build")
    pip = tmp_path / "pip.py"
    pip.write_text(PIP.format(log=str(tmp_path / "calls"), unknown="+cpu"))
    monkeypatch.setattr(module, "PIP", (sys.executable, str(pip)))
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return module


def installed(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> list[str]:
    """Return the requirements that pip was asked for, in order."""
    monkeypatch.setattr(sys, "argv", ["torch_build.py", "torch==2.13.0", *options])
    try:
        module.main()
    except SystemExit as end:
        assert not end.code
    return [json.loads(line)[-1] for line in (tmp_path / "calls").read_text().splitlines()]


def test_without_a_gpu_the_small_one_is_tried_first_and_the_other_costs_a_word(
    torch_build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert installed(torch_build, tmp_path, monkeypatch) == ["torch==2.13.0+cpu", "torch==2.13.0"]
    (line,) = capsys.readouterr().out.splitlines()
    assert "5.7 GB" in line and "TORCH_INDEX" in line


def test_with_a_gpu_the_one_with_cuda(torch_build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_build, "has_gpu", lambda: True)
    assert installed(torch_build, tmp_path, monkeypatch, "--index", "https://index.example") == [
        "torch==2.13.0,!=2.13.0+cpu", "torch==2.13.0"
    ]  # fmt: skip
    asked = json.loads((tmp_path / "calls").read_text().splitlines()[0])
    assert asked[asked.index("--extra-index-url") + 1] == "https://index.example"


def test_another_failure_of_pip_is_told(
    torch_build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_build, "PIP", (sys.executable, "-c", "import sys; sys.exit('no space left')"))
    monkeypatch.setattr(sys, "argv", ["torch_build.py", "torch==2.13.0"])
    with pytest.raises(SystemExit, match="no space left"):
        torch_build.main()
