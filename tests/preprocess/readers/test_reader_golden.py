"""What is stored, against the whole pipeline of the reference: layouts NTU, COCO-20 and UAV, one and two persons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pickles import config

from components.contracts.skeleton import load_layout
from components.preprocess.normalise import normalise, rotation, to_body
from components.preprocess.readers.samples import Sample

NTU = load_layout("ntu25")
Z, X = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
CASES_3D = pytest.mark.parametrize("case", ["1p_T70", "2p_T150", "2p_T260_swap"])


def through_float16(vector: Any, target: Any) -> Any:
    """The direction whose angle to ``target`` is the one that the reference computes in float16."""
    cosine = float(np.clip(vector / np.linalg.norm(vector) @ target, -1, 1))
    exact = vector.astype(np.float64)
    across = exact - exact @ target * target
    return cosine * target + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across)


@CASES_3D
def test_alignment_is_the_reference_s_but_for_float16(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_nturgbd_{case}.npz")
    points = golden["prenorm"]
    (lower, upper), (right, left) = ([NTU.number(joint) for joint in pair] for pair in (NTU.upright, NTU.across))
    upright = rotation(through_float16(points[0, 0, upper] - points[0, 0, lower], Z), Z)
    turned = points.astype(np.float64) @ upright.T
    turned = turned @ rotation(turned[0, 0, right] - turned[0, 0, left], X).T
    np.testing.assert_allclose(turned, golden["prenorm_align_spine_true"], atol=1e-12)


@CASES_3D
def test_centring_is_the_reference_s_but_for_float16(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_nturgbd_{case}.npz")
    settings = config(layout="ntu25", normalisation="body")
    found = normalise(Sample(0, "x", 0, golden["raw"]), settings)
    np.testing.assert_array_equal(found.astype(np.float16), golden["prenorm"])
    # Exact apart from that rounding: what is centred already does not change.
    np.testing.assert_allclose(to_body(golden["prenorm"].astype(np.float64), NTU), golden["prenorm"], atol=1e-6)


@pytest.mark.parametrize("case", ["1p_T70", "2p_T150", "2p_T260"])
@pytest.mark.parametrize("layout", ["coco20", "uav17"])
def test_2d_joint_stream_equals_the_reference(golden_dir: Path, layout: str, case: str) -> None:
    golden = np.load(golden_dir / f"b_{'coco_new' if layout == 'coco20' else 'uav'}_{case}.npz")
    settings = config(layout=layout, dimensions="2d+score")
    stored = normalise(Sample(0, "x", 0, golden["raw"], golden["raw_score"]), settings)
    expected = golden["pipeline_val_j_seed61"][0]
    np.testing.assert_allclose(stored[:, golden["usf_test_nc1_inds"]], expected[: len(stored)], rtol=1e-6, atol=1e-6)
    assert len(stored) == int(case[0]) and not expected[len(stored) :].any()
