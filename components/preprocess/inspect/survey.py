"""Collects what is seen of the samples while they are packed or inspected, and says what is doubtful about them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components.contracts.config import DataConfig
from components.preprocess.inspect.anatomy import order_doubts
from components.preprocess.inspect.directions import up_doubts
from components.preprocess.inspect.doubts import Doubt
from components.preprocess.inspect.gap_notes import Lost, gap_doubts
from components.preprocess.inspect.glimpse import Glimpse
from components.preprocess.inspect.ids import id_doubts
from components.preprocess.inspect.labels import class_doubts, label_doubts
from components.preprocess.inspect.units import unit_doubts

GLIMPSES = 200
"""Samples of which poses are kept: enough to judge a data set by, in a few megabytes."""


def is_looked_at(position: int, expected: int) -> bool:
    """Whether the sample at a position is one of those that are looked at: they are spread over the input."""
    return position % max(1, expected // GLIMPSES) == 0


@dataclass
class Survey:
    """``labels`` of all samples that have one, packed or not; ``packed``: label by id; ``lost``: see ``Lost``."""

    labels: Counter[int] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    packed: dict[str, int] = field(default_factory=dict)
    lost: dict[str, Lost] = field(default_factory=dict)
    glimpses: list[Glimpse] = field(default_factory=list)

    def doubts(self, config: DataConfig, splits: Mapping[str, Sequence[str]], leaks: Mapping[str, int]) -> list[Doubt]:
        """Return all that is doubtful; of clips without labels, what concerns their coordinates."""
        joints = order_doubts(self.glimpses, config.skeleton)
        # Joints in another order point anywhere.
        bodies = [*unit_doubts(self.glimpses, config), *(joints or up_doubts(self.glimpses, config))]
        gaps = gap_doubts(self.lost, config.classes)
        if config.format == "clips":
            return [Doubt(doubt.code, "warning", doubt.text, doubt.remedy) for doubt in [*bodies, *gaps]]
        labelled = label_doubts(self.labels, config)
        if not labelled:
            labelled = class_doubts(self.packed, splits, config)
        copies = _leak_doubts(leaks, splits, config)
        return [*labelled, *id_doubts(splits, self.ids, config), *bodies, *gaps, *copies]


def _leak_doubts(leaks: Mapping[str, int], splits: Mapping[str, Sequence[str]], config: DataConfig) -> list[Doubt]:
    doubts = []
    for name, count in leaks.items():
        train, test = config.protocols[name].train, config.protocols[name].test
        text = (
            f"protocol {name}: {count} of {len(splits[test])} test samples ({test}) are byte-equal to training ones "
            f"({train}): accuracy overstated"
        )
        if count:
            remedy = f"leave them out of split {train!r}"
            if count < len(splits[test]):
                without = f"data.splits: {{unleaked: {{by: leaks, of: [{train}, {test}]}}}}"
                remedy += f", or test on unleaked_val, which {without} makes"
            doubts.append(Doubt("leak", "warning", text, remedy))
    return doubts
