"""The invariants of the architecture (DESIGN §1, 1 to 3), read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("preprocess", "train", "agent", "evaluate")
SHARED = ("contracts", "runtime")
SOURCES = sorted(path for folder in ("components", "pipelines") for path in (ROOT / folder).rglob("*.py"))
COMPONENTS = [path for path in SOURCES if path.is_relative_to(ROOT / "components")]
every_core = pytest.mark.parametrize("stage", STAGES)

PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
LONGEST = 60
PIPELINE = {"make_pipeline", "skeletonagent"}
NO_CORE = {"kfp", "minio", "boto3", "argparse", "typer", "click"}
NO_CORE_OF_OURS = {"components.runtime.cli", "components.runtime.task", "components.runtime.store.s3"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, with the name taken from it: ``a.b`` and ``a.b.c``.

    KFP components are source code in a string; what such a string imports counts too.
    """
    module = tree(path)
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).parent.parts[
                    : len(path.relative_to(ROOT).parent.parts) - node.level + 1
                ]
                base = ".".join([*package, *([base] if base else [])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^\s*(?:from|import)\s+([\w.]+)", node.value, re.MULTILINE)
        elif isinstance(node, ast.Call) and _name(node.func) in {
            "importlib.import_module",
            "import_module",
            "__import__",
        }:
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def top_level(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def test_the_house_is_as_drawn() -> None:
    assert {path.name for path in (ROOT / "components").iterdir() if path.is_dir() and path.name != "__pycache__"} == {
        *STAGES,
        *SHARED,
    }
    for stage in STAGES:
        for door in ("core.py", "component.py", "__main__.py"):
            assert (ROOT / "components" / stage / door).is_file(), f"components/{stage} lacks {door}"


def test_invariant_1_stages_know_the_contracts_the_runtime_and_themselves() -> None:
    for path in COMPONENTS:
        owner = path.relative_to(ROOT / "components").parts[0]
        allowed = {*SHARED, owner} if owner in STAGES else set(SHARED)
        for name in imports(path):
            if name.startswith("components."):
                assert name.split(".")[1] in allowed, f"{path} imports {name}"
            assert name.partition(".")[0] != "pipelines", f"{path} imports {name}"


@pytest.mark.parametrize("package", SHARED)
def test_invariant_1_contracts_and_runtime_need_no_torch_and_no_kfp(package: str) -> None:
    for path in (ROOT / "components" / package).rglob("*.py"):
        assert not top_level(path) & {"torch", "kfp"}, path


def test_contracts_do_not_know_the_runtime() -> None:
    for path in (ROOT / "components" / "contracts").rglob("*.py"):
        assert not any(name.startswith("components.runtime") for name in imports(path)), path


def test_only_train_imports_torch() -> None:
    for path in SOURCES:
        if not path.is_relative_to(ROOT / "components" / "train"):
            assert "torch" not in top_level(path), path


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name; a package's is that of its ``__init__``."""
    named = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in SOURCES}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def reached(path: Path) -> set[str]:
    """Our modules that a file imports, anywhere in it; of ``from a import b`` that is ``a.b`` if it is a module."""
    known, found = modules(), set()
    names = sorted(imports(path))
    for name in names:
        deeper = any(other.startswith(f"{name}.") and other in known for other in names)
        if name in known and not (deeper and known[name].name == "__init__.py"):
            found.add(name)
    return found


def test_invariant_1_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: reached(path) - {name} for name, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@every_core
def test_invariant_2_cores_know_paths_only(stage: str) -> None:
    """No KFP, no object store and no command line in a core, nor in anything of ours that it reaches."""
    known = modules()
    seen: set[str] = set()
    waiting = [f"components.{stage}.core"]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        assert not top_level(known[name]) & NO_CORE, name
        assert name not in NO_CORE_OF_OURS, f"{name} is reached"
        waiting += sorted(reached(known[name]) - seen - set(waiting))
    assert len(seen) > 1


def test_invariant_3_nothing_is_unpickled() -> None:
    """Only the allow-list unpickler reads pickles; the demo, which makes a user's pickle, may write one."""
    for path in SOURCES:
        where = path.relative_to(ROOT).as_posix()
        if where == "components/runtime/pickled/instructions.py":
            continue
        assert not top_level(path) & (PICKLES - {"pickle"} if where.startswith("pipelines/") else PICKLES), where
        used = {_name(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)} | set(imports(path))
        assert {name for name in used if name.startswith("pickle.")} <= {"pickle.dump", "pickle.dumps"}, where


def test_invariant_3_arrays_and_weights_are_read_without_pickle() -> None:
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call):
                _expect_no_pickle(node, f"{path.relative_to(ROOT)}:{node.lineno}")


def _expect_no_pickle(call: ast.Call, where: str) -> None:
    name, arguments = _name(call.func), {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ("np.load", "numpy.load"):
        assert _is(arguments.get("allow_pickle"), False), f"{where}: np.load without allow_pickle=False"
    if name == "torch.load":
        assert _is(arguments.get("weights_only"), True), f"{where}: torch.load without weights_only=True"
    assert not _is(arguments.get("allow_pickle"), True), f"{where}: allow_pickle=True"
    assert name not in ("pd.read_pickle", "pandas.read_pickle"), where
    if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
        pytest.fail(f"{where}: {name}; yaml.safe_load reads data only")


def test_every_wing_says_in_one_sentence_what_lives_there() -> None:
    for path in SOURCES:
        if path.name == "__init__.py" and len(path.relative_to(ROOT).parts) > 3:
            text = ast.get_docstring(tree(path)) or ""
            assert text.partition("\n")[0].endswith("."), f"{path}: found {text!r}, expected a sentence"


def test_functions_are_short() -> None:
    """But for the pipeline, whose parameters and sub-pipeline KFP wants within one function."""
    functions = (
        (path, node)
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in PIPELINE
    )
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path, node in functions
        if (node.end_lineno or 0) - node.lineno >= LONGEST
    ]
    assert not long


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


class TestTheTestItself:
    """The reader of imports must see every way to import."""

    @pytest.mark.parametrize(
        ("source", "found"),
        [
            ("import torch.nn as nn", "torch.nn"),
            ("def f():\n    from components.train import core", "components.train.core"),
            ("from ..train import core", "components.train.core"),
            ("from . import core", "components.agent.core"),
            ("import importlib\nimportlib.import_module('torch')", "torch"),
            ("SOURCE = '''\n    from components.train.core import x\n'''", "components.train.core"),
        ],
    )
    def test_imports_are_found(self, source: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "components" / "agent" / "x.py"
        path.parent.mkdir(parents=True)
        path.write_text(source)
        monkeypatch.setitem(imports.__globals__, "ROOT", tmp_path)
        assert found in set(imports(path))


def test_no_two_modules_of_the_tests_have_the_same_name() -> None:
    """They are imported by their bare names, so that the second of two would be the first."""
    named: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.name != "conftest.py":
            named.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    assert [paths for paths in named.values() if len(paths) > 1] == []
