"""What makes the recogniser cheaper leaves its function and its gradients as they were."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from train_helpers import CLASSES as CLASS_NAMES
from train_helpers import experiment

from components.contracts.config import ModelConfig, TrainConfig
from components.train.core import _build_trainer
from components.train.distributed.process_group import ProcessGroup, default_device
from components.train.model import layers
from components.train.model.folding import fold
from components.train.model.layers import BatchNorm
from components.train.model.recogniser import Recogniser
from components.train.round import Round
from components.train.training.inputs import open_inputs
from components.train.training.loop import Tally

JOINTS, PERSONS, CLASSES = 20, 2, 6
MASK = (torch.arange(CLASSES * JOINTS).view(CLASSES, JOINTS) % 3 == 0).float()


@pytest.fixture(autouse=True)
def _made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is as small as here."""
    monkeypatch.setattr(layers, "KEPT", 0)


def recogniser(stem: str = "embedding", persons: int = PERSONS, **model: object) -> Recogniser:
    """Return a small network every part of which is active, as after some training."""
    settings = {"stem": stem, "width": 16, "blocks": 3, "inflate_at": [1], "subsets": 4}
    config = ModelConfig.model_validate({**settings, "temporal": ["3x1", "3x2", "max3", "1x1"], **model})
    torch.manual_seed(1)
    network = Recogniser(config, JOINTS, persons, CLASSES, text_dimensions=12).double()
    for name, array in (*network.named_parameters(), *network.named_buffers()):
        if array.is_floating_point():
            low = 0.5 if name.endswith("running_var") else -0.3
            array.data += torch.rand_like(array) * 0.5 + low if array.ndim < 2 else 0
    return network


def clips() -> tuple[Tensor, Tensor]:
    """Return skeletons ``[5, 2, 12, 20, 3]``, of which three have no second person, and who is there."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, PERSONS, 12, JOINTS, 3, generator=generator, dtype=torch.float64)
    present = torch.tensor([[1, 0], [1, 1], [1, 0], [1, 0], [1, 1]], dtype=torch.bool)
    return x * present[:, :, None, None, None], present


def results(network: Recogniser, x: Tensor, present: Tensor | None) -> dict[str, Tensor]:
    """Return outputs, gradients and running statistics of one training step."""
    output = network(x, MASK.double(), present)
    heads = {"logits": output.logits, "constraint": output.constraint, "alignment": output.alignment}
    (
        output.logits.log_softmax(1)[:, 0] + output.constraint.sin().sum(1) + output.alignment.square().sum(1)
    ).sum().backward()
    gradients = {
        f"gradient of {name}": array.grad for name, array in network.named_parameters() if array.grad is not None
    }
    assert len(gradients) == len(list(network.parameters())) - 1  # the loss does without the logit scale
    return heads | gradients | dict(network.named_buffers())


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        torch.testing.assert_close(
            found[name], array, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("stem", ["embedding", "plain"])
def test_absent_persons_computed_once_train_alike(stem: str) -> None:
    x, present = clips()
    same(results(recogniser(stem), x, present), results(recogniser(stem), x, None))


@pytest.mark.parametrize("stem", ["embedding", "plain"])
def test_absent_persons_of_three_train_alike(stem: str) -> None:
    x, present = clips()
    x, present = torch.cat([x, x[:, 1:]], dim=1), torch.cat([present, present[:, 1:]], dim=1)
    same(results(recogniser(stem, 3), x, present), results(recogniser(stem, 3), x, None))


@pytest.mark.parametrize("stem", ["embedding", "plain"])
def test_absent_persons_computed_once_are_recognised_alike(stem: str) -> None:
    network = recogniser(stem).eval()
    x, present = clips()
    rows = []
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    with torch.no_grad():
        torch.testing.assert_close(network.classify(x, present), network.classify(x))
    assert rows == [8, 10]  # seven who are there and one for three who are not


def test_folded_recogniser_is_the_same_function() -> None:
    network = recogniser().eval()
    x, present = clips()
    before = copy.deepcopy(network.state_dict())
    folded = fold(network)
    with torch.no_grad():
        torch.testing.assert_close(folded.classify(x, present), network.classify(x))
    same(dict(network.state_dict()), before)


@pytest.mark.parametrize("shape", [(7, 6, 5, 4), (3, 2, 1, 9)])
def test_batch_norm_is_that_of_pytorch(shape: tuple[int, ...]) -> None:
    ours, theirs = BatchNorm(shape[1]).double(), nn.BatchNorm2d(shape[1]).double()
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 2
    found = []
    for norm in (ours, theirs):
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(-1, 2, shape[1]))
            norm.bias.copy_(torch.linspace(1, -1, shape[1]))
        given = x.clone().requires_grad_()
        out = norm(given)
        out.sin().sum().backward()
        found.append({"out": out, "x": given.grad, "weight": norm.weight.grad, **norm.state_dict()})
    same(*found)


def test_checkpointed_blocks_train_alike() -> None:
    network = recogniser()
    network.tune(TrainConfig(epochs=1, activation_checkpointing=True))
    x, present = clips()
    same(results(network, x, present), results(recogniser(), x, present))


def test_kept_activations_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    x, present = clips()
    made_again = results(recogniser(), x, present)
    monkeypatch.setattr(layers, "KEPT", 2**60)
    same(results(recogniser(), x, present), made_again)


def test_blocks_traced_by_the_compiler_train_alike() -> None:
    """What the compiler makes of the blocks' code, each in one piece; machine code is left to its own tests."""
    model = {"blocks": 1, "inflate_at": [], "temporal": ["3x1", "1x1"]}
    network = recogniser(**model)
    network.blocks[0].compile(backend="eager", fullgraph=True)
    x, present = clips()
    same(results(network, x, present), results(recogniser(**model), x, present))


def test_bfloat16_is_near() -> None:
    network, exact = recogniser().float(), recogniser().float()
    network.tune(TrainConfig(epochs=1, precision="bf16"))
    x, present = clips()
    with torch.no_grad():
        found, expected = network.eval().classify(x.float(), present), exact.eval().classify(x.float(), present)
    assert found.dtype == torch.float32
    assert 0 < float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())


def test_one_way_to_recompute() -> None:
    with pytest.raises(ValueError, match="activation_checkpointing: found true together with compile"):
        TrainConfig(epochs=1, compile=True, activation_checkpointing=True)


def test_kept_memory_is_harmless() -> None:
    """glibc is told so once; an array larger than its largest mapping threshold still comes and goes."""
    script = """
import numpy as np
from components.train.training.allocator import keep_memory
assert keep_memory() is keep_memory()
print(float(sum(np.ones(20_000_000, dtype=np.float32).sum() for _ in range(3))))
"""
    for variables in ({}, {"MALLOC_TRIM_THRESHOLD_": "1000000"}):
        environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PATH": os.environ["PATH"], **variables}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
        )
        assert done.stdout == "60000000.0\n"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_never_waits_for_the_gpu(tiny_dataset: Path, tiny_constraints: Path) -> None:
    stage = experiment(precision="bf16").stage_train("b")
    inputs = open_inputs(Round(stage, "b", 1, tiny_dataset, tiny_constraints))
    trainer = _build_trainer(stage, inputs, "b", ProcessGroup(device=default_device()))
    generator, batch = torch.Generator().manual_seed(0), trainer.samples[:12]
    tally = Tally.empty(len(CLASS_NAMES), trainer.source.device)
    trainer._step(batch, generator, tally)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer._step(batch, generator, tally)
    finally:
        torch.cuda.set_sync_debug_mode("default")
