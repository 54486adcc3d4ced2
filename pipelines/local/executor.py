"""The process of one task of a local run: ``python -m pipelines.local.executor FOLDER``.

The folder holds ``task.json``: the module that the task runs, and its arguments. They come by file because Linux takes
no argument above 128 KiB, which the configuration of a few thousand classes exceeds.
"""

from __future__ import annotations

import json
import logging
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the module as if its arguments had been on the command line."""
    module, *sys.argv[1:] = json.loads(Path(sys.argv[1], "task.json").read_text(encoding="utf-8"))
    # The inputs are the whole configuration again, for every task; the run's record has it once.
    logging.getLogger().addFilter(lambda record: not record.getMessage().startswith("Got executor_input"))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
