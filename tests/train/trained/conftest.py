"""A model of three streams, trained for a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from train_helpers import Joined, experiment, run

from components.contracts.config import Experiment
from components.train.trained.joining import join_streams

STREAMS = ("j", "b", "km")


@pytest.fixture(scope="session")
def joined(tiny_dataset: Path, tiny_constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Joined:
    folder = tmp_path_factory.mktemp("joined")
    document = experiment(rounds=1, epochs=3, learning_rate=0.05, mix=False).model_dump(mode="json")
    document["streams"] = STREAMS
    document["evaluate"] = {"weights": {"j": 3, "b": 2, "km": 1}}
    document["stream_overrides"] = {"km": {"motion": "sequence"}}
    tiny = Experiment.model_validate(document)
    made = {
        stream: run(tiny, tiny_dataset, tiny_constraints, folder / stream, stream=stream) for stream in tiny.streams
    }
    join_streams(tiny.stage_evaluate(), [made[stream].checkpoint for stream in ("km", "j", "b")], folder / "model")
    return Joined(tiny, made, folder / "model")
