"""The process of one task of a local run: ``python -m pipelines.local.executor FOLDER``.

The folder holds ``component.py`` and ``arguments.json``, KFP's arguments for it. They come by file because Linux takes
no argument above 128 KiB, which the configuration of a few thousand classes exceeds.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from kfp.dsl.executor_main import executor_main


def main() -> None:
    """Run KFP's executor as if its arguments had been on the command line."""
    folder = Path(sys.argv[1])
    sys.argv[1:] = [
        "--component_module_path",
        str(folder / "component.py"),
        *json.loads((folder / "arguments.json").read_text(encoding="utf-8")),
    ]
    # The inputs are the whole configuration again, for every task; the run's record has it once.
    logging.getLogger().addFilter(lambda record: not record.getMessage().startswith("Got executor_input"))
    executor_main()


if __name__ == "__main__":
    main()
