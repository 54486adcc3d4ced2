"""Folders and archives from a shell."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pickles import config
from raw_recordings import ntu_files, uav_files, write, zipped
from typer.testing import CliRunner

from components.contracts import dataset
from components.contracts.errors import InputError
from components.preprocess.__main__ import app


def experiment(folder: Path) -> Path:
    protocols = {"xsub": {"train": "xsub_train", "test": "xsub_val"}}
    data = config(layout="ntu25", normalisation="body", protocols=protocols, protocol="xsub").model_dump(mode="json")
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump({"name": "test", "data": data, "train": {"epochs": 2}}))
    return file


def test_an_archive_is_packed_and_the_format_can_be_chosen(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {**ntu_files(), **uav_files()})
    arguments = ["run", str(zipped(folder, tmp_path / "in.zip")), "-c", str(experiment(tmp_path)), "-o"]
    refused = CliRunner().invoke(app, [*arguments, str(tmp_path / "out")])
    assert isinstance(refused.exception, InputError)
    assert "holds files of several formats (ntu, uav): choose one with --format" in str(refused.exception)
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "out"), "--format", "ntu"])
    assert done.exit_code == 0 and "4 samples packed, 0 skipped" in done.output
    assert len(dataset.open(tmp_path / "out")) == 4


def test_an_unknown_format_is_a_usage_error(tmp_path: Path) -> None:
    arguments = ["run", str(tmp_path), "-c", str(experiment(tmp_path)), "-o", str(tmp_path / "out"), "--format", "bvh"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and "bvh" in done.output


def test_a_folder_without_what_the_protocol_needs_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {name: text for name, text in ntu_files().items() if "P001" in name})
    done = CliRunner().invoke(app, ["run", str(folder), "-c", str(experiment(tmp_path)), "-o", str(tmp_path / "out")])
    with pytest.raises(InputError, match="split 'xsub_val' of protocol 'xsub': it is empty"):
        raise done.exception or AssertionError(done.output)
    assert not (tmp_path / "out").exists()
