"""CLIP text towers (Radford et al., 2021): sentences to vectors, with weights that the user has.

The package ``open-clip-torch`` names the models and has the vocabulary; both are read as data. It is not imported:
that needs a torchvision built for the very torch at hand, of which text has no use. The tower is torch's own
transformer. This is the only module of the agent that needs torch, and it is imported only if it is chosen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from components.agent.text.clip_tokens import ClipTokens
from components.agent.text.packaged import package_file
from components.contracts.artifact import sha256_file
from components.contracts.errors import InputError
from components.runtime.logs import stage_logger
from components.runtime.store import store_for

LOG = stage_logger("agent")
_PACKAGE = "open_clip"
_SHAPE = {"context_length", "vocab_size", "width", "heads", "layers"}
_RENAMED = (
    (r"^transformer\.resblocks\.", "transformer.layers."),
    (r"\.attn\.", ".self_attn."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.mlp\.c_fc\.", ".linear1."),
    (r"\.mlp\.c_proj\.", ".linear2."),
)
"""From the names of CLIP's weights to those of torch's transformer."""


@dataclass(frozen=True)
class TowerShape:
    """The size of a text tower: tokens, width, heads and blocks of the transformer, and the embedding's dimensions."""

    embed_dim: int
    width: int
    heads: int
    layers: int
    context_length: int = 77
    vocab_size: int = 49408
    quick_gelu: bool = False


class TextTower(nn.Module):
    """CLIP's text encoder: a causal transformer whose output at the last token is projected."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.positional_embedding = nn.Parameter(torch.empty(shape.context_length, shape.width))
        block = nn.TransformerEncoderLayer(
            shape.width,
            shape.heads,
            4 * shape.width,
            dropout=0.0,
            activation=_quick_gelu if shape.quick_gelu else "gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(block, shape.layers, enable_nested_tensor=False)
        self.ln_final = nn.LayerNorm(shape.width)
        self.text_projection = nn.Parameter(torch.empty(shape.width, shape.embed_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embedding of one sentence, ``[D]``, not normalised.

        Args:
            tokens: int64 ``[L]``, the last one the end of the text. What would follow it changes nothing.
        """
        length = len(tokens)
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        causal = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.transformer(x[None], mask=causal, is_causal=True)[0, -1]
        return self.ln_final(x) @ self.text_projection


class ClipEncoder:
    """Encodes sentences by a CLIP text tower into unit vectors; see ``TextEncoder``.

    Args:
        model: the name of a model of open_clip, such as ``ViT-B-32-quickgelu`` (OpenAI's weights).
        weights: path or ``s3://`` URI of its weights: safetensors, or a PyTorch file of tensors only.

    Raises:
        InputError: the package, the model or the weights are missing, or they do not fit together.
    """

    def __init__(self, model: str, weights: str) -> None:
        self._shape = tower_shape(model)
        self._tokens = ClipTokens(package_file(_PACKAGE, "bpe_simple_vocab_16e6.txt.gz", "open-clip-torch"))
        self._tower = TextTower(self._shape).eval()
        with TemporaryDirectory() as scratch:
            file = store_for(weights).fetch(weights, Path(scratch))
            self._tower.load_state_dict(read_tower(file, weights, model, self._tower))
            self.name = f"clip {model} {sha256_file(file)[:16]}"

    def encode(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings, float32 ``[len(sentences), D]``; what exceeds the model's tokens is cut."""
        limit = self._shape.context_length
        tokens = [self._tokens.encode(sentence, limit) for sentence in sentences]
        if cut := sum(self._tokens.exceeds(sentence, limit) for sentence in sentences):
            LOG.warning("%d of %d descriptions exceed %d tokens; the text encoder reads their beginning",
                        cut, len(sentences), limit)  # fmt: skip
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums in a fixed order, hence the same bytes whatever the number of cores
        try:
            with torch.inference_mode():
                vectors = [nn.functional.normalize(self._tower(torch.tensor(row)), dim=0) for row in tokens]
        finally:
            torch.set_num_threads(threads)
        return np.stack([vector.numpy() for vector in vectors]).astype(np.float32)


def tower_shape(model: str) -> TowerShape:
    """Return the size of a model's text tower; ``InputError`` lists the known models if it is none of them."""
    folder = package_file(_PACKAGE, "model_configs/ViT-B-32.json", "open-clip-torch").parent
    known = {file.stem: shape for file in sorted(folder.glob("*.json")) if (shape := _read_shape(file))}
    if model not in known:
        raise InputError(f"config: agent.clip_model: found {model!r}, expected one of {', '.join(known)}")
    return known[model]


def _read_shape(file: Path) -> TowerShape | None:
    """Read a model's description; ``None`` if its text tower is not CLIP's own."""
    document = json.loads(file.read_text(encoding="utf-8"))
    text = document["text_cfg"]
    if document.keys() - {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"} or text.keys() - _SHAPE:
        return None
    return TowerShape(embed_dim=document["embed_dim"], quick_gelu=document.get("quick_gelu", False), **text)


def read_tower(file: Path, uri: str, model: str, tower: TextTower) -> dict[str, Tensor]:
    """Read the text tower's weights as float32, under the names of ``tower``; others, as of images, are passed over.

    Raises:
        InputError: not a file of tensors, or one is missing, has another shape, or holds NaN or infinity.
    """
    found = {_renamed(name): tensor for name, tensor in _read_tensors(file, uri).items()}
    state = {}
    for name, expected in tower.state_dict().items():
        if name not in found:
            raise InputError(f"{name} is missing: not the text weights of {model}", at=uri)
        if found[name].shape != expected.shape:
            shapes = f"{list(found[name].shape)} found, {list(expected.shape)} expected"
            raise InputError(f"{name}: shape {shapes} by {model}", at=uri)
        state[name] = found[name].float()
        if not torch.isfinite(state[name]).all():
            raise InputError(f"{name}: NaN or infinity found", at=uri)
    return state


def _read_tensors(file: Path, uri: str) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys() if "visual." not in name}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"not a safetensors file: {' '.join(str(error).split())}", at=uri) from None
    return _tensors_of(_load(file, uri))


def _load(file: Path, uri: str) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, torch.serialization.pickle.UnpicklingError):
        # Their texts advise to switch the check off.
        raise InputError(
            "not a PyTorch file of tensors only; a TorchScript archive or a whole model must be saved as a "
            "state dict first, best as .safetensors",
            at=uri,
        ) from None


def _tensors_of(document: Any) -> dict[str, Tensor]:
    """Take the tensors out of a state dict, or out of a training checkpoint that holds one."""
    if isinstance(document, Mapping) and isinstance(document.get("state_dict"), Mapping):
        document = document["state_dict"]
    if not isinstance(document, Mapping):
        return {}
    return {str(name): tensor for name, tensor in document.items() if isinstance(tensor, Tensor)}


def _renamed(name: str) -> str:
    name = name.removeprefix("module.").removeprefix("text.")
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)
