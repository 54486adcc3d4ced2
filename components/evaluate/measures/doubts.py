"""What preprocess found doubtful about the data, and what the data lost, as the dataset's manifest has it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from components.contracts.dataset import SCHEMA, Dataset
from components.contracts.documents import reading
from components.contracts.metrics import Doubt, Lost


class Recorded(BaseModel):
    """The entries of the manifest's ``about``; None in datasets of versions that did not look."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    doubts: list[Doubt] | None = None
    lost: Lost | None = None


def recorded(packed: Dataset | None) -> Recorded:
    """Return what is recorded; ``DamagedError`` if it is of another form."""
    if packed is None:
        return Recorded()
    with reading(packed.path, SCHEMA.name):
        return Recorded.model_validate(packed.manifest.about)
