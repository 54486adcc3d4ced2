"""Whose samples are wrong: errors by subject and by view, where the sample ids of well-known data sets tell them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from components.contracts.metrics import GroupErrors

_PATTERNS = (
    re.compile(r"S\d{3}(?P<view>C\d{3})(?P<subject>P\d{3})R\d{3}A\d{3}"),  # NTU RGB+D
    re.compile(r"a\d+_(?P<subject>s\d+)_e\d+(?:_(?P<view>v\d+))?"),  # NW-UCLA; MSR Action 3D has no views
    re.compile(r"(?P<subject>P\d{3})S\d{2}G\d{2}B\d{2}H\d{2}"),  # UAV-Human
    re.compile(r"(?P<subject>s\d{2}s\d{2})_\d{2}_\d{3}"),  # SBU: a pair of subjects
)
_KINDS: tuple[Literal["subject", "view"], ...] = ("subject", "view")


def group_errors(sample_ids: npt.NDArray[np.str_], correct: npt.NDArray[np.bool_]) -> list[GroupErrors]:
    """Count the errors among ``[N]`` samples by subject, then by view.

    Empty where the ids are of no known form (all must be of one), or all samples are of one subject or view.
    """
    ids = [str(sample_id) for sample_id in sample_ids]
    pattern = next((one for one in _PATTERNS if all(one.search(sample_id) for sample_id in ids)), None)
    if pattern is None:
        return []
    found: list[Any] = [pattern.search(sample_id) for sample_id in ids]
    groups = []
    for kind in _KINDS:
        names = [match.groupdict().get(kind) for match in found]
        samples = Counter(names)
        wrong = Counter(name for name, hit in zip(names, correct.tolist(), strict=True) if not hit)
        if len(samples) > 1 and None not in samples:
            groups += [
                GroupErrors(kind=kind, name=str(name), samples=samples[name], wrong=wrong[name])
                for name in sorted(samples, key=str)
            ]
    return groups
