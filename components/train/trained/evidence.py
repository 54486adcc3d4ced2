"""Where the network looks: what each joint adds to the logit of a class.

A class's logit is linear in the features averaged over persons and joints, so each joint's share of it is exact
(class activation mapping, Zhou et al. 2016). Softmax takes no notice of what all classes share, hence a joint counts
by what it adds to the class above the mean over all classes. Graph convolutions have mixed in what its neighbours
did: the share says where the network looked, not which coordinate would have to change.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.contracts.config import TrainStage
from components.contracts.skeleton import Layout
from components.train.clips.features import test_features
from components.train.clips.gather import ClipSource
from components.train.model.folding import fold
from components.train.model.recogniser import Recogniser

_BATCH = 64
_OF_A_CLASS = 32
"""So many samples of a class at most say where the network looks for it."""


def class_activation(model: Recogniser, clips: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return class probabilities ``[N, classes]`` and the joints' shares of the logits ``[N, classes, V]``.

    Args:
        model: in evaluation mode.
        clips: one stream, ``[N, M, T, V, 3]``.
        present: which persons there are, bool ``[N, M]`` in main memory.
    """
    # What the mean class has is common to all: softmax does not see it.
    weights = model.classifier.weight - model.classifier.weight.mean(dim=0)
    per_joint = model.features(clips, present).mean(dim=1)
    probabilities = model.classifier(per_joint.mean(dim=2)).softmax(dim=1)
    return probabilities, weights @ per_joint / per_joint.shape[2]


@torch.inference_mode()
def class_evidence(
    model: Recogniser, source: ClipSource, samples: Tensor, stage: TrainStage, layout: Layout, stream: str
) -> npt.NDArray[np.float32]:
    """Return where the network looks to tell each class: float32 ``[classes, V]``, the mean over some of its samples.

    Args:
        samples: numbers of the samples to choose from, int64 ``[N]``; a class without one has zeros.
    """
    labels = source.labels[samples]
    total = torch.zeros(len(stage.data.classes), len(layout.joints), dtype=torch.float64)
    chosen = samples[_spread_by_class(labels)]
    folded = fold(model)
    stage = stage.model_copy(update={"train": stage.train.model_copy(update={"test_clips": 1})})
    for batch in chosen.split(_BATCH):
        clips = test_features(source, batch, stage, layout, stream, clip=0)
        shares = class_activation(folded, clips, source.present(batch))[1].double().cpu()
        own = source.labels[batch]
        total.index_add_(0, own, shares[torch.arange(len(batch)), own])
    counts = torch.bincount(source.labels[chosen], minlength=len(total)).clamp(min=1)
    return np.asarray((total / counts[:, None]).numpy(), dtype=np.float32)


def _spread_by_class(labels: Tensor) -> Tensor:
    """Return places of at most ``_OF_A_CLASS`` samples of each class, evenly spread over the order they come in."""
    places = []
    for label in labels.unique().tolist():
        own = (labels == label).nonzero()[:, 0]
        count = min(len(own), _OF_A_CLASS)
        places.append(own[torch.arange(count) * len(own) // count])
    return torch.cat(places)
