"""The plain recogniser, which ours is measured against, computes what the reference computed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import recogniser as benchmark
import torch
from plain_recogniser import PlainRecogniser, TextTower
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

STEMS = {"ntu60": ("embedding", 25, 60), "k400": ("plain", 20, 400)}


def recorded(golden: Path, variant: str) -> tuple[PlainRecogniser, dict[str, Tensor]]:
    stem, joints, classes = STEMS[variant]
    model = PlainRecogniser(stem, joints, 2, classes)
    state = load_file(golden / f"a_{variant}_state_dict_fp16.safetensors")
    model.load_state_dict(
        {name: array.float() if array.is_floating_point() else array for name, array in state.items()}
    )
    with np.load(golden / f"a_{variant}_io.npz") as arrays:
        return model, {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def close(found: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("variant", STEMS)
def test_evaluation(golden_dir: Path, variant: str) -> None:
    model, arrays = recorded(golden_dir, variant)
    with torch.no_grad():
        logits, constraint, alignment = model.eval()(arrays["input"])
    close(logits, arrays["eval_cls_score"])
    close(constraint, arrays["eval_x_1"])
    close(alignment, arrays["eval_x_2"])


@pytest.mark.parametrize("variant", STEMS)
def test_training_and_every_gradient(golden_dir: Path, variant: str) -> None:
    """Gradients in double precision: in single, sums of what mostly cancels depend on processor and threads."""
    model, arrays = recorded(golden_dir, variant)
    logits, constraint, alignment = model.train()(arrays["input"])
    close(logits, arrays["train_cls_score"])
    close(constraint, arrays["train_x_1"], atol=5e-5)
    close(alignment, arrays["train_x_2"], atol=5e-5)
    statistics = {name for name in arrays if name.startswith("after_train_fwd.")}
    assert statistics
    for name in statistics:
        close(model.state_dict()[name.removeprefix("after_train_fwd.")], arrays[name])
    model, _ = recorded(golden_dir, variant)
    logits, constraint, alignment = model.double().train()(arrays["input"].double())
    gradients = json.loads((golden_dir / f"a_{variant}_train_grads.json").read_text())
    label = torch.tensor(gradients["label"])
    scalar = F.cross_entropy(logits, label) + F.cross_entropy(constraint, label) + alignment.square().mean()
    assert scalar.item() == pytest.approx(gradients["scalar"], rel=1e-5)
    scalar.backward()
    parameters = dict(model.named_parameters())
    deviations = []
    for name, (expected, _) in gradients["grad_norm_sum"].items():
        gradient = parameters[name].grad
        assert gradient is not None
        norm = float(gradient.norm())
        # Two scalars per block are such sums, and the record is one of single precision.
        rel = 0.2 if name.endswith((".alpha", ".beta")) else 1e-2
        assert norm == pytest.approx(expected, rel=rel, abs=1e-4), name
        deviations.append(abs(norm - expected) / max(norm, 1e-3))
    assert float(np.median(deviations)) < 1e-3


def test_text_tower_has_the_size_of_clip() -> None:
    with torch.device("meta"):
        tower = TextTower()
    assert sum(math.prod(parameter.shape) for parameter in tower.parameters()) == pytest.approx(63_428_097, rel=1e-4)


@pytest.mark.slow
def test_benchmark_measures_both_in_processes_of_their_own() -> None:
    number = next(number for number, case in enumerate(benchmark.CASES) if case.work == "recognise")
    row = benchmark.compare(number, batch=1, steps=1, pairs=1, threads=1)
    title, *numbers = row
    assert title == benchmark.CASES[number].title
    assert all(float(cell.removesuffix(" ×")) > 0 for cell in numbers)
