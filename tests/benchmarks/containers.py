"""What a container costs a stage, against a process: ``make bench-containers``.

Every task of a short run is done alternately by this machine's Python and in a container of its stage's image, as
``make run-docker`` confines it, from the same inputs on this machine's disk; nothing is cached. The best time of each
counts. A container is timed from its creation to its removal. The first line is what Python and a container cost that
do nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import yaml
from docker.types import Mount

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "containers")]

from command_lines import CommandLine, command_lines  # noqa: E402

from components.contracts.config import load_experiment  # noqa: E402
from components.contracts.errors import InputError  # noqa: E402
from components.runtime.cli import parse_settings  # noqa: E402
from components.runtime.task import image  # noqa: E402
from pipelines.demo import write_demo  # noqa: E402
from pipelines.images import STAGES  # noqa: E402
from pipelines.local.containers import hand_over  # noqa: E402
from pipelines.local.engine import Engine  # noqa: E402
from pipelines.platform import ALLOCATOR  # noqa: E402

SHORT = ["streams=[j]", "train.epochs=2"]


def main() -> None:
    """Print a line for each task."""
    parser = argparse.ArgumentParser(description="Stages in containers against stages in processes.")
    parser.add_argument("--data", type=Path, help="Pickle of skeletons; none: the synthetic demo.")
    parser.add_argument("--config", type=Path, default=ROOT / "pipelines" / "configs" / "demo.yaml")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--turns", type=int, default=3, help="How often each is done; the best counts.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="containers-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the containers' user passes
        hand_over(folder)
        experiment = load_experiment(arguments.config, parse_settings([*SHORT, *arguments.settings]))
        config, data = folder / "config.yaml", folder / "data.pkl"
        document = experiment.model_dump(mode="json", exclude_defaults=True)
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        if arguments.data:
            shutil.copyfile(arguments.data, data)
        else:
            write_demo(data)
        with Engine(f"benchmark {folder}") as engine:
            engine.check_images(*STAGES)
            print(f"{'':18} {'process':>9} {'container':>9} {'more':>9}")
            _compare("nothing", ["-c", "pass"], "preprocess", folder, engine, arguments.turns)
            for line in command_lines(experiment, str(data), str(folder)):
                _compare_stage(line, config, folder, engine, arguments.turns)


def _compare_stage(line: CommandLine, config: Path, folder: Path, engine: Engine, turns: int) -> None:
    words = line.words("", str(config))[1:]
    _compare(line.name, words, line.stage, folder, engine, turns, lambda: shutil.rmtree(line.output))


def _compare(
    name: str,
    words: list[str],
    stage: str,
    folder: Path,
    engine: Engine,
    turns: int,
    forget: Callable[[], object] = nullcontext,
) -> None:
    """Do both ``turns`` times and print the best of each; ``forget`` undoes what they do, but not after the last."""
    environment = {"OMP_NUM_THREADS": "1", **(ALLOCATOR if stage == "train" else {})}
    mounts = [Mount(str(folder), str(folder), "bind")]

    def process() -> int:
        surroundings = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, check=False).returncode

    def container() -> int:
        options = engine.confined(environment)
        return engine.run(image(stage), ["python3", *words], lambda _: None, mounts=mounts, **options)

    best = {process: float("inf"), container: float("inf")}
    for turn in range(turns):
        for do in best:
            if turn or do is container:
                forget()
            started = time.perf_counter()
            if status := do():
                sys.exit(f"error: {name}: exit status {status}")
            best[do] = min(best[do], time.perf_counter() - started)
    print(
        f"{name:18} {best[process]:8.2f}s {best[container]:8.2f}s {best[container] - best[process]:+8.2f}s", flush=True
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
