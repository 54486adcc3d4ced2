"""A text encoder in a folder, as exporters write it and model hubs hand it out.

    tokenizer.json                    the tokeniser (library ``tokenizers``)
    model.onnx, or onnx/model.onnx    the network; ``text_model.onnx`` (CLIP) is looked for too
    config.json, tokenizer_config.json, sentence_bert_config.json, 1_Pooling/config.json
                                      read where they are there: what kind of network, how long, how pooled

What says least is believed last: the tokeniser's own truncation, then the network's fixed length, then the files
beside it. Nothing in the folder is executed but the network itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.agent.text.onnx_model import OnnxEncoder, Pooling
from components.contracts.artifact import digest_of, sha256_file
from components.contracts.errors import InputError

TOKENIZER = "tokenizer.json"
MODELS = ("model.onnx", "text_model.onnx", "onnx/model.onnx", "onnx/text_model.onnx")
LIMITS = (
    ("sentence_bert_config.json", "max_seq_length"),
    ("tokenizer_config.json", "model_max_length"),
    ("config.json", "max_position_embeddings"),
)
"""Where the longest sentence of a network stands, the most reliable first."""
LONGEST = 8192
"""Above this a limit is a placeholder: transformers writes 10^30 for "unknown"."""
POOLINGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLING = "1_Pooling/config.json"
_WEIGHTS = ("_data", ".data")
"""What the weights of a network above 2 GB are called beside it, after its own name."""
FILES = (
    *(TOKENIZER, *(name for name, _ in LIMITS), _POOLING),
    *(model + end for model in MODELS for end in ("", *_WEIGHTS)),
)
"""All that is read of a folder."""


def open_folder(folder: Path, name: str) -> OnnxEncoder:
    """Open the encoder in a folder that people know as ``name`` (a path or URI), and try it on one sentence.

    Raises:
        InputError: a file is missing or damaged, or it is not a sentence encoder.
    """
    tokenizer = folder / TOKENIZER
    model = next((folder / file for file in MODELS if (folder / file).is_file()), None)
    if not folder.is_dir() or not tokenizer.is_file() or model is None:
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:10]) if folder.is_dir() else "no folder"
        raise InputError(f"found {found or 'nothing'}, {TOKENIZER} and {MODELS[0]} expected", at=folder)
    sha256 = digest_of({file.relative_to(folder).as_posix(): sha256_file(file) for file in _files(folder, model)})
    encoder = OnnxEncoder(
        model,
        tokenizer,
        name=f"{name.rstrip('/').rpartition('/')[2]} {sha256[:16]}",
        sha256=sha256,
        pooling=_pooling(folder),
        pooler_first=str(_read(folder, "config.json").get("model_type", "")).startswith("clip"),
    )
    _fit_length(encoder, folder)
    encoder.encode(["An arm moves."])  # whatever is wrong with it is told before anything is paid for
    return encoder


def _files(folder: Path, model: Path) -> Iterator[Path]:
    """Yield the files that decide what comes out, the network's weights beside it among them."""
    own = [f"{model.relative_to(folder).as_posix()}{end}" for end in ("", *_WEIGHTS)]
    others = [name for name in FILES if not name.startswith(MODELS)]
    yield from (folder / name for name in (*others, *own) if (folder / name).is_file())


def _fit_length(encoder: OnnxEncoder, folder: Path) -> None:
    """Cut sentences where the network ends, and fill them up where it takes one length only."""
    documents = {name: _read(folder, name) for name, _ in LIMITS}
    texts = documents["config.json"].get("text_config")  # of CLIP, which has two towers
    documents["config.json"] |= texts if isinstance(texts, dict) else {}
    stated = [documents[name].get(key) for name, key in LIMITS]
    limits = [limit for limit in stated if isinstance(limit, int) and 0 < limit <= LONGEST]
    fixed = encoder.fixed_length
    if fixed:
        encoder.limit = min(fixed, encoder.limit or fixed)
        encoder.pad_to(fixed, encoder.pad_id or _pad_id(folder))
    elif not encoder.limit and limits:
        encoder.limit = limits[0]


def _pad_id(folder: Path) -> int:
    pad = _read(folder, "config.json").get("pad_token_id")
    return pad if isinstance(pad, int) and pad >= 0 else 0


def _pooling(folder: Path) -> Pooling:
    modes = [mode for mode, chosen in _read(folder, _POOLING).items() if mode.startswith("pooling_mode") and chosen]
    if not modes:
        return "mean"
    if len(modes) > 1 or modes[0] not in POOLINGS:
        raise InputError(f"found {', '.join(modes)}, one of {', '.join(POOLINGS)} expected", at=folder / _POOLING)
    return POOLINGS[modes[0]]


def _read(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    if not file.is_file():
        return {}
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise InputError("not JSON", at=file) from None
    return document if isinstance(document, dict) else {}
