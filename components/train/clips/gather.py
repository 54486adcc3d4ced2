"""Batches of clips straight from the packed dataset: gathering, no per-sample work, no loader processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from components.contracts.dataset import Dataset
from components.train.clips.sampling import Frames


class ClipSource:
    """A dataset's keypoints on the device, from which clips are gathered.

    On the CPU the tensor is the memory-mapped file itself; on an accelerator it is copied there once.
    """

    def __init__(self, dataset: Dataset, persons: int, device: torch.device) -> None:
        self.keypoints = torch.from_numpy(_writable_view(dataset.keypoints)).to(device)
        self.first = torch.from_numpy(dataset.first)
        self.frames = torch.from_numpy(dataset.frames)
        self.counts = torch.from_numpy(dataset.persons)
        self.labels = torch.from_numpy(dataset.labels)
        self.widths = torch.from_numpy(dataset.widths)
        self.persons = persons
        self.device = device

    def clips(self, samples: Tensor, frames: Frames) -> Tensor:
        """Gather the clips of a batch.

        Args:
            samples: sample numbers, int64 ``[B]``.
            frames: the frames of each clip, ``[B, T]``.

        Returns:
            float32 ``[B, M, T, V, 3]``; a person that a sample lacks is all zero.
        """
        person = torch.arange(self.persons)[None, :, None]
        present = self.present(samples)[..., None]
        offset = self.first[samples][:, None, None] + person * self.frames[samples][:, None, None]
        offset = torch.where(present, offset, self.first[samples][:, None, None])
        lower = self._rows(offset + frames.lower[:, None, :])
        if bool(frames.weight.any()):
            upper = self._rows(offset + frames.upper[:, None, :])
            lower = lower.lerp(
                upper, frames.weight[:, None, :, None, None].to(self.device, torch.float32, non_blocking=True)
            )
        return lower.mul_(present[..., None, None].to(self.device, non_blocking=True))

    def present(self, samples: Tensor) -> Tensor:
        """Return which persons the samples have: bool ``[B, M]`` in main memory."""
        return torch.arange(self.persons) < self.counts[samples][:, None]

    def _rows(self, rows: Tensor) -> Tensor:
        # Whole rows are copied several times faster than by indexing three dimensions.
        gathered = self.keypoints.flatten(1).index_select(0, rows.flatten().to(self.device, non_blocking=True))
        return gathered.float().view(*rows.shape, *self.keypoints.shape[1:])


def _writable_view(keypoints: np.ndarray) -> np.ndarray:
    """Reopen a read-only memory map copy-on-write: torch wants writable memory, the file stays as it is."""
    if isinstance(keypoints, np.memmap) and keypoints.filename is not None:
        return np.load(keypoints.filename, mmap_mode="c", allow_pickle=False)
    return keypoints
