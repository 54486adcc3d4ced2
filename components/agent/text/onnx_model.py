"""A sentence encoder on ONNX Runtime: token numbers in, one unit vector out.

A sentence is encoded alone: dynamic int8 quantisation takes its scales from the whole batch, so that in a batch a
sentence's vector would depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

from components.agent.providers import LOGGER
from components.contracts.errors import InputError

Pooling = Literal["mean", "cls", "max", "lasttoken"]
POOLED = ("text_embeds", "sentence_embedding", "sentence_embeddings", "text_features", "embeddings", "embedding")
"""Outputs that are the sentence's vector, ``[1, D]``, by the names that exporters give them."""
PER_TOKEN = ("token_embeddings", "last_hidden_state")
"""Outputs with a vector per token, ``[1, L, D]``."""
POOLER = "pooler_output"
"""CLIP's end of the sentence; BERT's is trained for another task, so that the mean over the tokens comes first."""

_FEEDS: dict[str, Callable[[Encoding], Any]] = {
    "input_ids": lambda tokens: tokens.ids,
    "attention_mask": lambda tokens: tokens.attention_mask,
    "token_type_ids": lambda tokens: tokens.type_ids,
    "position_ids": lambda tokens: range(len(tokens.ids)),
}
_INTEGERS: dict[str, type] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxEncoder:
    """Encodes sentences into unit vectors; the same sentence always gives the same vector.

    Args:
        model: the network (ONNX). It takes ``input_ids`` and, if it likes, ``attention_mask``, ``token_type_ids`` and
            ``position_ids``, or a single input of any name that is the token numbers.
        tokenizer: its ``tokenizer.json``; its padding is kept, and its truncation too.
        name: what artifacts call the encoder.
        pooling: how the vectors of the tokens become one, where the network does not do that itself.
        pooler_first: prefer ``pooler_output`` to the vectors of the tokens, as CLIP's text tower wants it.

    Raises:
        InputError: a file is damaged, or the network is no text encoder.
    """

    def __init__(
        self,
        model: Path,
        tokenizer: Path,
        *,
        name: str,
        sha256: str = "",
        pooling: Pooling = "mean",
        pooler_first: bool = False,
    ) -> None:
        self.name = name
        self.sha256 = sha256
        self._pooling = pooling
        self._session = _session(model)
        self._tokenizer = _tokenizer(tokenizer)
        self._inputs = _inputs(self._session, model)
        self._output, self._pools = _output(self._session, model, pooler_first=pooler_first)

    @property
    def limit(self) -> int:
        """The tokens that are read of a sentence; 0: all."""
        truncation = self._tokenizer.truncation
        return int(truncation["max_length"]) if truncation else 0

    @limit.setter
    def limit(self, tokens: int) -> None:
        self._tokenizer.enable_truncation(tokens)

    @property
    def pad_id(self) -> int:
        """The token that the tokeniser fills sentences up with; 0 if it does not say."""
        padding = self._tokenizer.padding
        return int(padding["pad_id"]) if padding else 0

    def pad_to(self, tokens: int, pad_id: int) -> None:
        """Fill every sentence up with ``pad_id``, as a network of fixed length wants it."""
        self._tokenizer.enable_padding(length=tokens, pad_id=pad_id)

    @property
    def fixed_length(self) -> int:
        """The length of sentence that the network was exported for; 0 if it takes any."""
        lengths = [entry.shape[1] for entry in self._session.get_inputs() if len(entry.shape) == 2]
        return next((length for length in lengths if isinstance(length, int)), 0)

    def encode(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the L2-normalised embeddings, float32 ``[len(sentences), D]``; what exceeds the limit is cut."""
        tokens = [self._tokenizer.encode(sentence) for sentence in sentences]
        if cut := sum(bool(entry.overflowing) for entry in tokens):
            LOGGER.warning("%d of %d descriptions exceed %d tokens; the text encoder reads their beginning",
                           cut, len(sentences), self.limit)  # fmt: skip
        return np.stack([self._encode(entry) for entry in tokens])

    def _encode(self, tokens: Encoding) -> npt.NDArray[np.float32]:
        feed: dict[str, Any] = {
            name: np.asarray([take(tokens)], dtype=kind) for name, (take, kind) in self._inputs.items()
        }
        try:
            (found,) = self._session.run([self._output], feed)
        except Exception as error:  # ONNX Runtime's own exceptions have no common base
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"the text encoder cannot encode {len(tokens.ids)} tokens: {reason}", at=self.name
            ) from None
        values = np.asarray(found, dtype=np.float64)[0]
        if self._pools:
            values = _pooled(values[np.asarray(tokens.attention_mask, dtype=bool)], self._pooling)
        norm = np.linalg.norm(values)
        if values.ndim != 1 or not np.isfinite(norm) or norm == 0:
            raise InputError(f"output {self._output}: no direction, shape {list(np.shape(found))}", at=self.name)
        vector: npt.NDArray[np.float32] = (values / norm).astype(np.float32)
        return vector


def _pooled(vectors: npt.NDArray[np.float64], pooling: Pooling) -> npt.NDArray[np.float64]:
    if pooling == "cls":
        return vectors[0]
    if pooling == "lasttoken":
        return vectors[-1]
    found: npt.NDArray[np.float64] = vectors.max(axis=0) if pooling == "max" else vectors.mean(axis=0)
    return found


def _session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread: sums in a fixed order, hence the same bytes on every machine of a kind.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions have no common base
        reason = " ".join(str(error).replace(str(model), model.name).split())[:200]
        raise InputError(f"ONNX Runtime cannot load it: {reason}", at=model) from None


def _tokenizer(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain ones
        raise InputError(f"not a tokenizer.json of the library tokenizers: {str(error)[:200]}", at=file) from None


def _inputs(session: onnxruntime.InferenceSession, model: Path) -> dict[str, tuple[Callable[[Encoding], Any], type]]:
    """Return per input of the network how it is made of the tokens, and its type."""
    entries = session.get_inputs()
    inputs: dict[str, tuple[Callable[[Encoding], Any], type]] = {}
    alone = len(entries) == 1
    for entry in entries:
        take = _FEEDS.get(entry.name) or (_FEEDS["input_ids"] if alone else None)
        if take is None or entry.type not in _INTEGERS:
            raise InputError(
                f"input {entry.name} ({entry.type}) found, integers {', '.join(_FEEDS)} expected; of a network with "
                "an image tower the text tower must be exported alone",
                at=model,
            )
        inputs[entry.name] = (take, _INTEGERS[entry.type])
    return inputs


def _output(session: onnxruntime.InferenceSession, model: Path, *, pooler_first: bool) -> tuple[str, bool]:
    """Return the output to read, and whether its tokens are still to be pooled."""
    ranks = {entry.name: len(entry.shape) for entry in session.get_outputs()}
    order = [*((name, False) for name in POOLED), *((name, True) for name in PER_TOKEN)]
    order.insert(0 if pooler_first and not ranks.keys() & set(POOLED) else len(order), (POOLER, False))
    for name, pools in order:
        if name in ranks:
            return name, pools and ranks[name] != 2
    if len(ranks) == 1 and (rank := next(iter(ranks.values()))) in (2, 3):
        return next(iter(ranks)), rank == 3
    known = ", ".join((*POOLED, *PER_TOKEN, POOLER))
    raise InputError(f"outputs {', '.join(ranks)} found, one of {known} expected", at=model)
