"""What the recogniser sees: velocities beside positions, and the persons of a clip apart or together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from train_helpers import CLASSES, experiment, run

from components.contracts import confusion, scores
from components.contracts.config import Experiment, ModelConfig
from components.train.model.folding import fold
from components.train.model.recogniser import EmbeddingStem, Recogniser

JOINTS, PERSONS, FRAMES = 5, 2, 12


def recogniser(**model: object) -> Recogniser:
    settings = {"width": 16, "blocks": 2, "inflate_at": [1], "subsets": 4, "temporal": ["3x1", "max3", "1x1"]}
    torch.manual_seed(0)
    return Recogniser(ModelConfig.model_validate({**settings, **model}), JOINTS, PERSONS, 3, 4).double().eval()


def clips() -> torch.Tensor:
    """Return skeletons ``[4, 2, 12, 5, 3]``."""
    return torch.randn(4, PERSONS, FRAMES, JOINTS, 3, generator=torch.Generator().manual_seed(1)).double()


@torch.no_grad()
def test_the_velocity_is_added_to_what_the_position_says() -> None:
    both, alone = (EmbeddingStem(8, JOINTS, PERSONS, velocity=velocity).double().eval() for velocity in (True, False))
    alone.load_state_dict(both.state_dict(), strict=False)
    x = clips()
    of_velocity = both(x) - alone(x)
    assert of_velocity.abs().amax() > 0.1
    # Elsewhere it is the same velocity; backwards it is another one, but where the clip ends.
    elsewhere = x + torch.tensor([3.0, -2.0, 1.0]).double()
    torch.testing.assert_close(both(elsewhere) - alone(elsewhere), of_velocity)
    standing = x[:, :, :1].expand_as(x)
    still = both(standing) - alone(standing)
    torch.testing.assert_close(still, still[:, :, :1].expand_as(still))
    torch.testing.assert_close(of_velocity[:, :, -1], still[:, :, -1])


@torch.no_grad()
@pytest.mark.parametrize(("persons", "seen"), [("apart", False), ("together", True)])
def test_together_one_person_is_seen_beside_the_other(persons: str, *, seen: bool) -> None:
    network, x = recogniser(persons=persons), clips()
    other = x.clone()
    other[:, 1] += 1
    before, after = network.features(x), network.features(other)
    assert before.shape == (4, PERSONS, 32, JOINTS)
    assert (before[:, 1] != after[:, 1]).any()
    assert (before[:, 0] != after[:, 0]).any().item() is seen


@torch.no_grad()
def test_together_each_person_keeps_its_joints() -> None:
    """Of two persons, the one who moves is where the features change most: constraints name joints of each."""
    network, x = recogniser(persons="together"), clips()
    for block in network.blocks:  # each joint for itself
        block.graph_conv.graph.copy_(torch.eye(PERSONS * JOINTS).double().expand_as(block.graph_conv.graph))
    other = x.clone()
    other[:, 1, :, 3] += 1
    changed = (network.features(other) - network.features(x)).abs().amax(dim=(0, 2))
    assert changed[1, 3] > 0.01
    changed[1, 3] = 0
    assert changed.amax() < 1e-9


@pytest.mark.parametrize("stem", ["embedding", "plain"])
@torch.no_grad()
def test_together_says_the_same_folded_and_whoever_is_present(stem: str) -> None:
    network, x = recogniser(persons="together", stem=stem), clips()
    x[1:, 1] = 0
    present = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 0]], dtype=torch.bool)
    torch.testing.assert_close(network.classify(x, present), network.classify(x))
    torch.testing.assert_close(fold(network).classify(x), network.classify(x))


def test_a_plain_stem_takes_no_velocity() -> None:
    with pytest.raises(ValidationError, match="velocity: found true with stem 'plain', expected stem 'embedding'"):
        ModelConfig(stem="plain", velocity=True)


def test_such_a_network_trains_in_rounds(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    settings = {"optimizer": "adamw", "learning_rate": 0.02, "mix": False, "precise_batch_norm": True, "epochs": 10}
    document = experiment(**settings).model_dump(mode="json")
    document["model"] |= {"velocity": True, "persons": "together"}
    tiny = Experiment.model_validate(document)
    first = run(tiny, tiny_dataset, tiny_constraints, tmp_path / "1")
    second = run(tiny, tiny_dataset, tiny_constraints, tmp_path / "2", 2, previous=first.checkpoint)
    history = scores.open(second.scores).history
    assert history[-1].loss < 0.6 * history[0].loss
    evidence = confusion.open(second.confusion).evidence
    assert evidence is not None and evidence.shape == (len(CLASSES), 20)
