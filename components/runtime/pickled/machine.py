"""The machine that runs a pickle: it knows only the instructions which build data, and counts what they build.

Why it is there, and how a file gets to it: see ``unpickler``.
"""

from __future__ import annotations

import struct
from typing import Any

from components.runtime.pickled.instructions import CODES, COSTS, INSTRUCTIONS
from components.runtime.pickled.stack import Stack
from components.runtime.pickled.values import RefusedError

ALLOWANCE = 16 << 20
"""Bytes that any pickle may build; on top come ``GROWTH`` bytes for each byte of the file."""
GROWTH = 8
_STOP = CODES["STOP"]


class Machine(Stack):
    """One run over one file."""

    def advance(self) -> bool:
        """Run to the next pause or to the STOP instruction; return whether it was the latter."""
        try:
            return self._advance()
        except RefusedError as error:
            raise RefusedError(f"{error} (at byte {self.at})") from None
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise RefusedError(f"damaged: {type(error).__name__} (at byte {self.at})") from None

    def _advance(self) -> bool:
        view, end = self.view, len(self.view)
        most = ALLOWANCE + GROWTH * end
        self.paused = False
        while not self.paused:
            if self.at >= end:
                raise RefusedError("cut off: its end is missing")
            code = view[self.at]
            self.built += COSTS[code]
            if self.built > most:
                raise RefusedError(f"it builds more than {most} bytes of objects from a file of {end}")
            self.at += 1
            if code == _STOP:
                self.result = self.stack.pop()
                return True
            instruction, width = INSTRUCTIONS[code]
            if width == 0:
                instruction(self, None)
            elif width == 1 and self.at < end:  # most arguments are one byte, the number of a memo entry
                self.at += 1
                instruction(self, view[self.at - 1])
            else:
                instruction(self, self._argument(width))
        return False

    def _argument(self, width: int) -> Any:
        """Read an unsigned number of ``width`` bytes or, if negative, what follows a length of that many bytes."""
        view, at = self.view, self.at
        self.at = end = at + abs(width)
        if end > len(view):
            raise RefusedError("cut off: its end is missing")
        number = view[at] if width in (1, -1) else int.from_bytes(view[at:end], "little")
        if width > 0:
            return number
        left = len(view) - end
        if number > left:
            raise RefusedError(f"cut off: {number} bytes announced, {left} left")
        self.at += number
        return view[end : self.at]
