"""Which way bodies stand and face, seen from the data; a config that says otherwise stops the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bodies import takes
from pickles import config, dump

from components.contracts import dataset
from components.contracts.data_config import AXES
from components.contracts.errors import InputError
from components.preprocess.core import preprocess


def standing(folder: Path, up: str) -> Path:
    """Bodies, which have y up where they come from, along another axis."""
    content = takes("ntu25")
    turn = np.asarray(AXES[up]).T @ np.asarray(AXES["+y"])
    for record in content["annotations"]:
        record["keypoint"] = record["keypoint"] @ turn.T
    return dump(folder / "in.pkl", content)


def pack(folder: Path, source: Path, **changes: Any) -> dataset.Dataset:
    preprocess(source, config(layout="ntu25", normalisation="body", classes=["a", "b", "c"], **changes), folder / "out")
    return dataset.open(folder / "out")


@pytest.mark.parametrize("up", sorted(AXES))
def test_bodies_that_stand_along_another_axis_stop_the_run(tmp_path: Path, up: str) -> None:
    source = standing(tmp_path, up)
    other = "+x" if up != "+x" else "-z"
    with pytest.raises(InputError, match=f'data.align: \\{other} is to be up.*set data.align: "\\{up}"'):
        pack(tmp_path, source, align=other)
    found = pack(tmp_path, source, align=up)
    middle = found.keypoints[:, found.layout.number("spine"), 2] - found.keypoints[:, found.layout.number("pelvis"), 2]
    assert (middle > 0).mean() > 0.9, "z is up"


def test_and_go_on_where_that_is_accepted(tmp_path: Path) -> None:
    found = pack(tmp_path, standing(tmp_path, "+z"), align="+y", accept=["up-axis"])
    assert {"code": "up-axis", "severity": "accepted"}.items() <= found.manifest.about["doubts"][0].items()
