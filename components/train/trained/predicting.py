"""Names what is done in clips of any files, with the joints that carried the decision (see ``ensemble``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from components.train.trained.ensemble import Ensemble
from components.train.trained.packing import Unreadable, packed_clips
from components.train.trained.prediction import Prediction


def predict(model: Ensemble, given: Sequence[Path]) -> Iterator[Prediction | Unreadable]:
    """Recognise every clip that can be read, and say of every other why it cannot.

    Args:
        model: what to ask.
        given: files and folders of raw skeletons, as ``python -m components.preprocess run --format clips`` reads
            them, and ``dataset`` artifacts.
    """
    for packed in packed_clips(given, model.data):
        if isinstance(packed, Unreadable):
            yield packed
            continue
        for prediction in model.predictions(packed.dataset):
            yield prediction.said_of(str(packed.source[prediction.sample_id]))
