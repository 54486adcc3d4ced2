"""A small real dataset and its constraints: six classes told apart by which arm moves and how fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from train_helpers import CLASSES, LAYOUT, experiment

from components.contracts import constraints, dataset
from components.contracts.skeleton import load_layout


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train") / "dataset"
    generator = np.random.default_rng(5)
    layout = load_layout(LAYOUT)
    rest = generator.normal(size=(len(layout.joints), 3))
    ids: list[str] = []
    with dataset.Writer(path, experiment().data, made_from={"source": "0" * 64}) as writer:
        for label, name in enumerate(CLASSES):
            side, speed = name.split()
            for repeat in range(10):
                frames = int(generator.integers(9, 40))
                time = np.arange(frames) / frames
                pose = rest + generator.normal(size=rest.shape) * 0.3
                body = np.tile(pose, (1 + repeat % 2, frames, 1, 1))
                for arm in ("left", "right") if side == "both" else (side,):
                    hand = layout.number(f"{arm}_hand")
                    wave = np.sin(2 * np.pi * time * (3 if speed == "fast" else 1))
                    body[:, :, hand] += wave[None, :, None]
                body += generator.normal(size=body.shape) * 0.02
                ids.append(f"{name} {repeat}")
                writer.append(ids[-1], label, body)
        writer.splits({"train": [i for i in ids if int(i[-1]) < 7], "test": [i for i in ids if int(i[-1]) >= 7]})
    return path


@pytest.fixture(scope="session")
def tiny_constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train") / "constraints"
    layout = load_layout(LAYOUT)
    hands = {"left": ("left_hand",), "right": ("right_hand",), "both": ("left_hand", "right_hand")}
    classes = tuple(
        constraints.ClassConstraint(
            label=label,
            name=name,
            description=f"moves {name}",
            joints=tuple(layout.number(hand) for hand in hands[name.split()[0]]),
            provenance=constraints.Provenance(status="prior", provider="test"),
        )
        for label, name in enumerate(CLASSES)
    )
    text = np.random.default_rng(7).normal(size=(len(CLASSES), 24)).astype(np.float32)
    value = constraints.Constraints(LAYOUT, 0, "", "test", classes, text)
    constraints.write(path, value, made_from={}, config=experiment().stage_agent())
    return path
