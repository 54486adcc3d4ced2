"""Class probabilities of a split, averaged over clips, and the scores made of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.contracts.config import TrainStage
from components.contracts.dataset import Dataset
from components.contracts.history import EpochRecord
from components.contracts.scores import Scores
from components.contracts.skeleton import Layout
from components.train.clips.features import test_features
from components.train.clips.gather import ClipSource
from components.train.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from components.train.model.folding import fold
from components.train.model.recogniser import Recogniser

_BATCH = 64


@torch.inference_mode()
def probabilities(
    model: Recogniser, source: ClipSource, samples: Tensor, stage: TrainStage, layout: Layout, stream: str
) -> np.ndarray:
    """Return float32 ``[N, classes]``: softmax of each clip, then the mean over clips (QUIRKS 31)."""
    folded = fold(model)
    rows = []
    for batch in samples.split(_BATCH):
        total = torch.zeros(len(batch), len(stage.data.classes), device=source.device)
        for clip in range(stage.train.test_clips):
            features = test_features(source, batch, stage, layout, stream, clip)
            total += folded.classify(features, source.present(batch)).softmax(dim=1)
        rows.append(total / stage.train.test_clips)
    return torch.cat(rows).cpu().numpy().astype(np.float32)


def score(
    model: Recogniser,
    source: ClipSource,
    dataset: Dataset,
    numbers: npt.NDArray[np.int64],
    stage: TrainStage,
    *,
    stream: str,
    round_number: int,
    history: tuple[EpochRecord, ...] = (),
    group: ProcessGroup = SINGLE_PROCESS,
) -> Scores:
    """Score the samples with these numbers with a model; ``history`` goes along into the result.

    Each of the ``group`` scores its share; all return the whole.
    """
    share = group.shard(torch.from_numpy(numbers))
    own = probabilities(model, source, share, stage, dataset.layout, stream)
    predicted = group.all_gather(torch.from_numpy(own).to(source.device), len(numbers)).cpu().numpy()
    return Scores(
        stream=stream,
        round=round_number,
        clips=stage.train.test_clips,
        sample_ids=dataset.sample_ids[numbers],
        labels=dataset.labels[numbers],
        probabilities=predicted,
        history=history,
    )
