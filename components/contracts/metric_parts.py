"""What all parts of ``metrics.json`` are made of: how they are read, intervals, and paired comparisons."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Keys that a newer minor version added are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Interval(Part):
    """A 95 % confidence interval of a share or of a difference of shares."""

    low: float
    high: float


NOT_KNOWN = Interval(low=0.0, high=1.0)
"""The interval of a share in files of schema 1.0, which had none."""


class Paired(Part):
    """Two sets of predictions of the same samples: ``won`` are correct only in the second, ``lost`` only in the first.

    ``difference`` of the shares that are correct (second minus first), its ``interval``, and the ``p_value`` of
    McNemar's exact test that both are equally often correct.
    """

    won: int
    lost: int
    samples: int
    difference: float
    interval: Interval
    p_value: float
