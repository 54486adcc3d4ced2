"""Which build of torch this machine gets: with CUDA, which is 5.7 GB installed, or without, which is 0.9 GB.

``python docker/torch_build.py torch==2.13.0`` installs it: the one without where Linux has no NVIDIA GPU, else what pip
takes. ``--cpu`` and ``--cuda`` decide otherwise. The index of torch's CPU builds is another than most machines have in
pip's settings; ``--index`` names it (``make install TORCH_INDEX=…``).
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq")


def has_gpu() -> bool:
    """Tell whether there is an NVIDIA GPU that a driver serves."""
    return Path("/proc/driver/nvidia").exists() or Path("/dev/nvidia0").exists() or bool(shutil.which("nvidia-smi"))


def wanted_torch(locked: str, cuda: bool) -> str:
    """Return the requirement of torch's build with CUDA, or of the one without.

    An index may call the former 2.13.0 or 2.13.0+cu130. ``==2.13.0`` alone would take 2.13.0+cpu before either, where
    pip knows that too.
    """
    version = locked.partition("==")[2]
    return f"{locked},!={version}+cpu" if cuda else f"{locked}+cpu"


def unknown(said: str) -> bool:
    """Tell whether pip failed because it knows no such build; the second is how it says so under a constraint."""
    return "No matching distribution" in said or "ResolutionImpossible" in said


def main() -> None:
    """Install torch as the command line says."""
    parser = argparse.ArgumentParser(description="Install torch in the build that suits this machine.")
    parser.add_argument("torch", help="Such as torch==2.13.0; what the lock goes with.")
    parser.add_argument("--cpu", action="store_true", help="without CUDA, whatever is here")
    parser.add_argument("--cuda", action="store_true", help="with CUDA, whatever is here")
    parser.add_argument("--index", default="", help="URL of an index that has the builds without CUDA")
    arguments = parser.parse_args()
    index = ["--extra-index-url", arguments.index] if arguments.index else []
    two_builds = platform.system() == "Linux" and platform.machine() == "x86_64"
    if two_builds or arguments.cpu or arguments.cuda:
        cuda = arguments.cuda or (has_gpu() and not arguments.cpu)
        # Without an answer to this, pip takes what it knows; it says itself why that fails, where it does.
        tried = subprocess.run(
            [*PIP, "install", *index, wanted_torch(arguments.torch, cuda)], capture_output=True, text=True, check=False
        )
        if tried.returncode == 0:
            return
        if not unknown(tried.stderr):
            sys.exit(tried.stderr.strip() or "error: pip could not install torch")
        if not cuda:
            print(
                "pip knows no build of torch without CUDA here; taking the one it knows, which with CUDA is 5.7 GB",
                end="",
            )
            print(" instead of 0.9 (make install TORCH_INDEX=… names an index that has one)", flush=True)
    sys.exit(subprocess.run([*PIP, "install", *index, arguments.torch], check=False).returncode)


if __name__ == "__main__":
    main()
