"""Plain paths of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from components.contracts.artifact import MANIFEST, staged
from components.contracts.errors import InputError


class LocalStore:
    """Plain paths: fetching hands out the path itself, publishing copies and renames into place."""

    def exists(self, uri: str) -> bool:
        return Path(uri).exists()

    def check(self, uri: str) -> None:
        """Do nothing: stages write local artifacts in place, and ``staged`` checks the path first."""

    def fetch(self, uri: str, into: Path) -> Path:
        path = Path(uri)
        if not path.exists():
            raise InputError(f"{uri}: no such file or directory")
        return path

    def publish(self, source: Path, uri: str) -> None:
        target = Path(uri)
        if source.resolve() == target.resolve():
            return
        if source.is_dir():
            with staged(target) as scratch:
                shutil.copytree(source, scratch, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            shutil.copyfile(source, part)
            part.replace(target)

    def remove(self, uri: str) -> None:
        (Path(uri) / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(uri, ignore_errors=True)
