"""How long a run will still take, judged by its trainings: nearly all of its time is theirs."""

from __future__ import annotations

LEAST_SHARE = 0.02
LEAST_S = 3.0
"""Before so much was seen nothing is said: the first steps are slower than the rest."""


class Estimate:
    """Follows the trainings of a run, all of them equally long.

    Work that was done before (a round that is resumed) counts as done, but not for the speed.
    """

    def __init__(self, trainings: int) -> None:
        self.trainings = trainings
        self._first: dict[str, float] = {}
        self._share: dict[str, float] = {}
        self._began: float | None = None

    def progress(self, training: str, share: float, now: float) -> None:
        """Note that so large a share of one training is done at ``now`` (seconds of any clock)."""
        if self._began is None:
            self._began = now
        self._first.setdefault(training, share)
        self._share[training] = share

    @property
    def done(self) -> float:
        """Trainings that are done, with fractions; those from the cache are not among them."""
        return sum(self._share.values())

    def left(self, now: float, cached: int = 0) -> float | None:
        """Return the seconds that are left; None before they can be told and when all trainings are done."""
        seen = self.done - sum(self._first.values())
        left = self.trainings - cached - self.done
        if self._began is None or seen < LEAST_SHARE or now - self._began < LEAST_S or left <= 0:
            return None
        return (now - self._began) / seen * left


def words(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
