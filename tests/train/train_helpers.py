"""The tiny experiment that the tests of the train stage share."""

from __future__ import annotations

from components.contracts.config import Experiment

CLASSES = ("left slow", "left fast", "right slow", "right fast", "both slow", "both fast")
LAYOUT = "kinect20"


def experiment(*, rounds: int = 2, **train: object) -> Experiment:
    """Return a tiny experiment; keyword arguments replace values of its ``train`` section."""
    settings = {"epochs": 4, "batch": 12, "frames": 16, "sampling": "resize", "learning_rate": 0.1, "test_clips": 2}
    return Experiment.model_validate(
        {
            "name": "tiny",
            "seed": 3,
            "rounds": rounds,
            "streams": ["j", "b"],
            "data": {
                "layout": LAYOUT,
                "classes": CLASSES,
                "normalisation": "none",
                "max_persons": 2,
                "protocols": {"all": {"train": "train", "test": "test"}},
                "protocol": "all",
            },
            "model": {"width": 16, "blocks": 2, "inflate_at": [1], "subsets": 4, "temporal": ["3x1", "max3", "1x1"]},
            "train": settings | train,
        }
    )
