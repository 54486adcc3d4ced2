"""The pipeline that the benchmark compares with computes what the reference computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plain_pipeline as plain
import pytest

from components.contracts.skeleton import STREAMS, load_layout

CASES = ["1p_T70", "2p_T150", "2p_T260_swap"]
NTU = load_layout("ntu25")


@pytest.mark.parametrize("case", CASES)
def test_every_step_equals_the_reference(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_nturgbd_{case}.npz", allow_pickle=False)
    np.testing.assert_array_equal(plain.normalise(golden["raw"]), golden["prenorm"])
    np.random.seed(21)
    np.testing.assert_allclose(plain.rotate(golden["prenorm"]), golden["randomrot_seed21"], atol=1e-12)
    for stream in STREAMS:
        found = plain.features(golden["randomrot_seed21"], NTU, stream)
        np.testing.assert_allclose(found, golden[f"feat_train_{stream}"], atol=1e-6)
    for seed in (51, 52, 53):
        np.random.seed(seed)
        found = plain.frame_numbers(int(golden["prenorm_total_frames"]), 100)
        np.testing.assert_array_equal(found, golden[f"usd_train_seed{seed}_inds"])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stream", ["j", "b", "km"])
def test_the_whole_equals_the_reference(golden_dir: Path, case: str, stream: str) -> None:
    golden = np.load(golden_dir / f"b_nturgbd_{case}.npz", allow_pickle=False)
    np.random.seed(61)
    found = plain.training_clip(golden["raw"], NTU, stream)
    np.testing.assert_allclose(found, golden[f"pipeline_train_{stream}_seed61"][0], atol=1e-6)
