"""Text of others, made fit to be kept: no surrogates, no secrets, never endless."""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"
_SURROGATES = re.compile("[\ud800-\udfff]")
_SECRET = re.compile(r"(?<![\w-])(?:sk|pk|rk|gsk|xai|hf|nvapi|key|ghp|glpat)[-_][\w*-]{6,}|AIza[\w-]{20,}|\S*\*{2,}\S*")
"""What the keys of known providers look like, and what a server has masked in part."""
_SHORTEST_PART = 4
"""Characters of the key that a server may not quote."""


def storable(text: str, longest: int) -> str:
    """Return at most ``longest`` characters of a text, such that UTF-8 can write them.

    JSON may carry half of a surrogate pair, which no file, request or log can: it becomes U+FFFD.
    """
    return _SURROGATES.sub(REPLACEMENT, text[:longest])


def one_line(text: str, longest: int) -> str:
    """Return a text as one line that a terminal can show, at most ``longest`` characters."""
    words = " ".join(text[: 10 * longest].split())
    return "".join(character for character in words if character.isprintable())[:longest]


def without_key(text: str, key: str) -> str:
    """Remove the key, should somebody quote it whole."""
    return text.replace(key, "***") if key else text


def masked(text: str, key: str) -> str:
    """Remove what may be a secret from a server's words: servers quote the ends of a key that they reject."""
    text = "***".join(_SECRET.sub("***", part) for part in (text.split(key) if key else [text]))
    if len(key) < 3 * _SHORTEST_PART:
        return text
    ends = (key[:_SHORTEST_PART], key[-_SHORTEST_PART:])
    return " ".join("***" if any(end in word for end in ends) else word for word in text.split(" "))
