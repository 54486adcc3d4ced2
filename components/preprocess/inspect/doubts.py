"""What is doubtful about data: said in one line each, with its remedy; what makes results meaningless stops a run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from components.contracts.data_config import Code
from components.contracts.errors import InputError

Severity = Literal["stop", "accepted", "warning", "note"]


@dataclass(frozen=True)
class Doubt:
    """One thing that is doubtful.

    ``severity``: ``stop`` makes results meaningless, ``accepted`` would but for ``data.accept``; a ``warning`` should
    be looked into, a ``note`` is worth knowing. ``text`` says what was found and what was expected.
    """

    code: Code
    severity: Severity
    text: str
    remedy: str = ""

    def line(self) -> str:
        """Return the doubt as people are told it."""
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


def weighed(doubts: Iterable[Doubt], accepted: Collection[str]) -> list[Doubt]:
    """Return doubts with those accepted that stopped, the gravest first."""
    order = ("stop", "accepted", "warning", "note")
    found = [
        replace(doubt, severity="accepted") if doubt.severity == "stop" and doubt.code in accepted else doubt
        for doubt in doubts
    ]
    return sorted(found, key=lambda doubt: order.index(doubt.severity))


def stop(doubts: Iterable[Doubt], at: object) -> None:
    """Raise ``InputError`` if doubts stop the run: one line with each of them, its remedy, and how to go on."""
    stopping = [doubt for doubt in doubts if doubt.severity == "stop"]
    if stopping:
        codes = ", ".join(dict.fromkeys(doubt.code for doubt in stopping))
        lines = ". ".join(doubt.line() for doubt in stopping)
        raise InputError(f"{lines}. To go on nevertheless: data.accept: [{codes}]", at=at)


def recorded(doubts: Iterable[Doubt]) -> list[dict[str, Any]]:
    """Return doubts as the manifest has them."""
    return [asdict(doubt) for doubt in doubts]
