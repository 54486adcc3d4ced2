"""What the data says: how well each joint's movement tells a class from those that it is confused with.

No network has a part in this, and no test sample: it is measured on the packed skeletons that were trained on.

*Movement.* Each joint of a sample is described relative to the person's centre joint and in torso lengths, so neither
place nor size matters: its mean position, its range, how far it has gone from the first quarter of the clip to the
last (sitting down is standing up backwards), and its speed. Averages over all joints are not used as the centre: they
would move with a waving hand, and every joint would seem to wave.

*Statistic.* Of two classes, per joint, the share η² of the variance of such a measure that the class explains, both
classes weighing the same, corrected for chance in small classes (ε²) and of the joint's measures the best one. Values
are replaced by their ranks over the whole split first (ties share one): a wild skeleton counts no more than the
largest tame one, and units drop out. It is in closed form from sums per class, where the area under a ROC curve would
have to sort every pair of classes; within one it orders the joints alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.contracts.skeleton import Layout
from components.train.clips.gather import ClipSource
from components.train.clips.sampling import Frames

_FRAMES = 32
_BATCH = 256
_MOST_OTHERS = 10
"""Against so many of the classes that one is most often confused with it is measured."""
_NEAREST = 3
"""A class that is never confused is measured against so many of those whose movements are nearest to its own."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Separability:
    """``classes``: float32 ``[classes, V]``, 0 (no better than chance) to 1 (the joint alone tells it from them all).

    ``pairs``: int64 ``[P, 2]``, confused classes, the lower number first; ``of_pairs``: float32 ``[P, V]``.
    ``activity``: float32 ``[classes, V]``, how much each joint moves in a class, as its mean rank among all samples.
    """

    classes: Floats
    pairs: npt.NDArray[np.int64]
    of_pairs: Floats
    activity: Floats


def separability(
    source: ClipSource, samples: Tensor, confused: npt.NDArray[np.int64], layout: Layout, *, three_d: bool
) -> Separability:
    """Measure how well each joint tells each class from those that it is confused with, weighted by how often.

    Args:
        source: the packed skeletons.
        samples: numbers of the training samples, int64 ``[N]``.
        confused: counts ``[true, predicted]`` on them; both directions count.
        three_d: whether channel 3 is a coordinate; else it is a score, and 0 marks a lost joint.
    """
    moves = movements(source, samples, layout, three_d=three_d)
    sums = _Sums.of(moves, source.labels[samples].numpy(), len(confused))
    rows = np.zeros((len(confused), moves.shape[1]), dtype=np.float32)
    both = confused + confused.T
    np.fill_diagonal(both, 0)
    found: dict[tuple[int, int], Floats] = {}
    for label in range(len(confused)):
        others, weights = _others(both[label], sums, label)
        if not len(others):
            continue
        told = sums.explained(label, others)
        rows[label] = (weights[:, None] * told).sum(axis=0)
        if both[label].any():
            found |= {(min(label, o), max(label, o)): row for o, row in zip(others.tolist(), told, strict=True)}
    pairs = sorted(found)
    return Separability(
        classes=rows,
        pairs=np.asarray(pairs, dtype=np.int64).reshape(-1, 2),
        of_pairs=np.asarray([found[pair] for pair in pairs], dtype=np.float32).reshape(-1, moves.shape[1]),
        activity=sums.activity(),
    )


def movements(source: ClipSource, samples: Tensor, layout: Layout, *, three_d: bool) -> Floats:
    """Describe how each joint moves in each sample, on average over its persons: float32 ``[N, V, features]``.

    NaN: the joint is not seen in at least half of the frames.
    """
    rows = []
    for batch in samples.split(_BATCH):
        lengths = source.frames[batch]
        # Whole frames: between a seen and a lost one there is nothing to interpolate.
        numbers = (torch.arange(_FRAMES) * 2 + 1) * lengths[:, None] // (2 * _FRAMES)
        clips = source.clips(batch, Frames(numbers, numbers, torch.zeros(numbers.shape)))
        described = _described(clips, layout, three_d=three_d)
        described[..., -1] *= (_FRAMES / lengths).to(described)[:, None, None]  # speed: from per step to per frame
        present = source.present(batch).to(described.device)[..., None, None]
        described = torch.where(present, described, torch.nan)
        rows.append(described.nanmean(dim=1).cpu().numpy().astype(np.float32))
    return np.concatenate(rows)


def _described(clips: Tensor, layout: Layout, *, three_d: bool) -> Tensor:
    """Describe the joints of clips ``[B, M, T, V, 3]``: ``[B, M, V, features]``, speed last."""
    seen = (clips != 0).any(dim=-1) if three_d else clips[..., 2] > 0
    points = clips if three_d else clips[..., :2]
    centre, (lower, upper) = layout.number(layout.centre), (layout.number(joint) for joint in layout.upright)
    # A centre that stands at the origin is seen: normalisation has put it there.
    alive = seen.any(dim=-1, keepdim=True)
    seen = (seen | (alive & (torch.arange(seen.shape[-1], device=seen.device) == centre))) if three_d else seen
    seen = seen & seen[..., centre : centre + 1]
    points = torch.where(seen[..., None], points - points[..., centre : centre + 1, :], torch.nan)
    torso = (points[..., upper, :] - points[..., lower, :]).norm(dim=-1).nanmedian(dim=-1).values
    spread = points.square().sum(dim=-1).flatten(2).nanmean(dim=-1).sqrt()
    scale = torch.where(torso > 0, torso, spread)
    points = points / torch.where(scale > 0, scale, torch.nan)[..., None, None, None]
    quarter = points.shape[2] // 4
    high = points.nan_to_num(nan=-torch.inf).amax(dim=2)
    low = points.nan_to_num(nan=torch.inf).amin(dim=2)
    gone = points[:, :, -quarter:].nanmean(dim=2) - points[:, :, :quarter].nanmean(dim=2)
    speed = points.diff(dim=2).norm(dim=-1).nanmean(dim=2)
    features = torch.cat([points.nanmean(dim=2), high - low, gone, speed[..., None]], dim=-1)
    often = seen.sum(dim=2) * 2 >= points.shape[2]
    return torch.where(often[..., None] & features.isfinite(), features, torch.nan)


@dataclass(frozen=True)
class _Sums:
    """Per class, joint and feature ``[classes, V, features]``: samples, and mean and variance of their ranks."""

    counts: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    variances: npt.NDArray[np.float64]

    @classmethod
    def of(cls, moves: Floats, labels: npt.NDArray[np.int64], classes: int) -> _Sums:
        counts, first, second = (np.zeros((classes, *moves.shape[1:])) for _ in range(3))
        for joint in range(moves.shape[1]):  # one after the other: float64 of all would be large
            ranks = np.stack([_ranks(column) for column in moves[:, joint].T], axis=1)
            known = np.isfinite(ranks)
            ranks = np.where(known, ranks, 0)
            # Added one after the other: the last bit of a matrix product depends on where its factors lie in memory.
            for total, values in ((counts, known), (first, ranks), (second, ranks**2)):
                np.add.at(total[:, joint], labels, values)
        means = first / np.maximum(counts, 1)
        return cls(counts, means, np.maximum(second / np.maximum(counts, 1) - means**2, 0))

    def activity(self) -> Floats:
        """Return how much each joint moves, by its range or its speed, whichever ranks higher: ``[classes, V]``."""
        axes = (self.means.shape[-1] - 1) // 3  # mean position, range, way gone: one each per axis; then the speed
        moving = np.concatenate([self.means[..., axes : 2 * axes], self.means[..., -1:]], axis=-1)
        return moving.max(axis=-1).astype(np.float32)

    def explained(self, label: int, others: npt.NDArray[np.int64]) -> Floats:
        """Return the share of variance that tells a class from each of others, by each joint: ``[others, V]``."""
        between = (self.means[label] - self.means[others]) ** 2 / 4
        total = between + (self.variances[label] + self.variances[others]) / 2
        share = np.divide(between, total, out=np.zeros_like(total), where=total > 0)
        samples = self.counts[label] + self.counts[others]
        corrected = 1 - (1 - share) * (samples - 1) / np.maximum(samples - 2, 1)
        enough = np.minimum(self.counts[label], self.counts[others]) >= 2
        return np.where(enough, corrected, 0).clip(0, 1).max(axis=-1).astype(np.float32)


def _ranks(values: Floats) -> npt.NDArray[np.float64]:
    """Return the ranks of values, from 0 to 1, equal ones in the middle of theirs; NaN stays."""
    ranks, known = np.full(len(values), np.nan), np.isfinite(values)
    _, which, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    ranks[known] = (middle / max(int(known.sum()) - 1, 1))[which]
    return ranks


def _others(
    confused: npt.NDArray[np.int64], sums: _Sums, label: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the classes to measure one against, and their weights, which add up to 1."""
    if confused.any():
        others = np.argsort(-confused, kind="stable")[:_MOST_OTHERS]
        others = others[confused[others] > 0]
        return others, confused[others] / confused[others].sum()
    has_samples = sums.counts.sum(axis=(1, 2)) > 0
    if not has_samples[label]:
        return np.empty(0, dtype=np.int64), np.empty(0)
    distances = ((sums.means - sums.means[label]) ** 2).mean(axis=(1, 2))
    distances[~has_samples] = np.inf
    distances[label] = np.inf
    nearest = np.argsort(distances, kind="stable")[:_NEAREST]
    nearest = nearest[np.isfinite(distances[nearest])]
    return nearest, np.full(len(nearest), 1 / max(len(nearest), 1))
