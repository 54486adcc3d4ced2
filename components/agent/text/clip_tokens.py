"""CLIP's byte-pair tokens (Radford et al., 2021), on the ``tokenizers`` library."""

from __future__ import annotations

import gzip
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from components.contracts.errors import InputError

START, END = "<start_of_text>", "<end_of_text>"
_SIZE = 49408
_MERGES = _SIZE - 2 * 256 - 2
"""Merges that CLIP uses: its vocabulary is the 256 bytes, alone and at the end of a word, the merges, start and end."""
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipTokens:
    """Turns sentences into token numbers.

    Args:
        vocabulary: the list of merges (gzip) that CLIP was trained with.
    """

    def __init__(self, vocabulary: Path) -> None:
        try:
            lines = gzip.decompress(vocabulary.read_bytes()).decode("utf-8").split("\n")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise InputError(f"not a vocabulary: {error}", at=vocabulary) from None
        merges = [(one, other) for one, other in (line.split() for line in lines[1 : _MERGES + 1])]
        letters = _byte_letters()
        words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges)]
        numbers = {word: number for number, word in enumerate([*words, START, END])}
        self._tokenizer = Tokenizer(BPE(numbers, merges, end_of_word_suffix="</w>"))
        self._tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        self._tokenizer.decoder = decoders.ByteLevel()
        self._start, self._end = numbers[START], numbers[END]

    def encode(self, sentence: str, limit: int) -> list[int]:
        """Return the tokens between start and end; those beyond ``limit`` in all are cut, the end stays."""
        return [self._start, *self._inner(sentence)[: limit - 2], self._end]

    def exceeds(self, sentence: str, limit: int) -> bool:
        """Tell whether ``encode`` cuts this sentence."""
        return len(self._inner(sentence)) > limit - 2

    def decode(self, tokens: list[int]) -> str:
        """Return the words of tokens, apart by spaces; start, end and what follows it say nothing."""
        inner = [token for token in tokens if token < self._start]
        return self._tokenizer.decode(inner).replace("</w>", " ").strip()

    def _inner(self, sentence: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(sentence).ids
        return ids


def _byte_letters() -> list[str]:
    """Return the letter that stands for each byte, in the order of CLIP's vocabulary: printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]
