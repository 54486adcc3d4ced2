"""The benchmarks' generated files are what a pickler writes, and the stage packs every sample of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import generate
import numpy as np
import preprocess_scale
import pytest

from components.contracts import dataset
from components.contracts.config import DataConfig
from components.preprocess.core import preprocess


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_generated_file_is_an_ordinary_pickle(tmp_path: Path, protocol: int) -> None:
    generate.write_ntu(tmp_path / "in.pkl", 1203, protocol)
    with (tmp_path / "in.pkl").open("rb") as file:
        content = pickle.load(file)  # noqa: S301 - written above
    assert [len(ids) for ids in content["split"].values()] == [802, 401]
    for found, expected in zip(content["annotations"], generate.ntu_records(1203), strict=True):
        np.testing.assert_array_equal(found.pop("keypoint"), expected.pop("keypoint"))
        assert found == expected


@pytest.mark.parametrize(("form", "write"), [("ntu", generate.write_ntu), ("kinetics", generate.write_kinetics)])
def test_every_generated_sample_is_packed(tmp_path: Path, form: str, write: object) -> None:
    write(tmp_path / "in.pkl", 120)  # type: ignore[operator]
    preprocess(tmp_path / "in.pkl", DataConfig.model_validate(preprocess_scale.config(form)), tmp_path / "out")
    packed = dataset.open(tmp_path / "out")
    assert len(packed) == 120 and not packed.skipped
