"""How numbers and names are written, on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from components.contracts.metric_parts import Interval

NO_VALUE = "–"
_MINUS = "−"
_THIN = "\u202f"


def percent(value: float | None) -> str:
    """A share, such as 94.5 %."""
    return NO_VALUE if value is None else f"{value * 100:.1f}{_THIN}%"


def points(value: float | None) -> str:
    """A difference of two shares in percentage points, with its sign."""
    if value is None:
        return NO_VALUE
    text = f"{value * 100:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", _MINUS)


def signed(value: float) -> str:
    """A difference of two ratios, with its sign."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", _MINUS)


def span(interval: Interval) -> str:
    """An interval of a share, such as 87.3 to 98.2 %."""
    return f"{interval.low * 100:.1f} to {percent(interval.high)}"


def points_span(interval: Interval) -> str:
    """An interval of a difference of shares, in points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def signed_span(interval: Interval) -> str:
    """An interval of a difference of ratios."""
    return f"{signed(interval.low)} to {signed(interval.high)}"


def p_value(value: float) -> str:
    """A p-value: = 0.034, or < 0.001."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def counted(count: int, word: str, words: str = "") -> str:
    """A number of things: 1 class, 2 classes."""
    return f"{count:,} {word if count == 1 else words or word + 's'}".replace(",", _THIN)


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Names, the first few by name."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def joint(name: str) -> str:
    return name.replace("_", " ")


def money(value: float) -> str:
    """A cost in the currency of the configured prices."""
    return f"{value:.4f}" if value < 1 else f"{value:,.2f}"
