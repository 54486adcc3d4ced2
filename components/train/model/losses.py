"""The training loss and its parts.

Source: SkeletonAgent reference, ``heads/base.py`` (QUIRKS 13, 14 and 16), checked against its recorded values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from components.train.model.recogniser import Output

_TARGET_SHARPNESS = 10.0


@dataclass
class Losses:
    """The weighted total and its unweighted parts, scalars."""

    total: Tensor
    clean: Tensor
    mixed: Tensor
    constraint: Tensor
    alignment: Tensor


def alignment_loss(features: Tensor, text: Tensor, labels: Tensor, logit_scale: Tensor) -> Tensor:
    """Pull each sample's features towards the text of its class, in both directions.

    Args:
        features: ``[N, D]``.
        text: the text embedding of each sample's class, ``[N, D]``.
        labels: int64 ``[N]``; samples of one class share their target weight.
        logit_scale: scalar multiplier of the cosines.

    Returns:
        The mean of two KL divergences per sample (skeleton to text, text to skeleton).
    """
    logits = logit_scale * F.normalize(features, dim=1) @ F.normalize(text, dim=1).T
    same = (labels[:, None] == labels[None, :]).to(logits.dtype)
    target = (_TARGET_SHARPNESS * same).softmax(dim=1)
    forward = F.kl_div(logits.log_softmax(dim=1), target, reduction="batchmean")
    backward = F.kl_div(logits.T.log_softmax(dim=1), target, reduction="batchmean")
    return (forward + backward) / 2


def training_loss(
    output: Output,
    labels: Tensor,
    mixed_labels: Tensor | None,
    text: Tensor,
    logit_scale: Tensor,
    *,
    constraint_weight: float,
    alignment_weight: float,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Losses:
    """Add up CE(clean) + soft CE(mixed) + w₁ · CE(constraint) + w₂ · alignment.

    Args:
        output: heads of the clean samples, followed by the mixed ones if there are any; without a constraint head its
            loss is 0.
        labels: int64 ``[N]`` of the clean samples.
        mixed_labels: class distribution of the mixed samples ``[N, classes]``, or None without mixing.
        text: the embedding of every class ``[classes, D]``.
        logit_scale: the recogniser's parameter.
        class_weights: weight of each class in CE(clean), ``[classes]``; None weighs all alike.
    """
    count = len(labels)
    clean = F.cross_entropy(output.logits[:count], labels, class_weights, label_smoothing=label_smoothing)
    mixed = torch.zeros_like(clean) if mixed_labels is None else F.cross_entropy(output.logits[count:], mixed_labels)
    constraint = torch.zeros_like(clean)
    if output.constraint is not None:
        constraint = F.cross_entropy(output.constraint[:count], labels)
    alignment = alignment_loss(output.alignment[:count], text[labels], labels, logit_scale)
    total = clean + mixed + constraint_weight * constraint + alignment_weight * alignment
    return Losses(total, clean, mixed, constraint, alignment)
