"""From a SkeletonAgent reference state dict to the parameters of our recogniser, one to one.

What has no counterpart is named, not dropped in silence: the CLIP text tower (frozen and outside the
recogniser here), the constraint matrix (the constraints artifact says the same) and the unused entries of
the reference's graph scales.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from components.contracts.checkpoint import Tensors
from components.contracts.errors import InputError

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_TEXT_HEAD = "backbone.linear_head.ViT-B/32"


class _Reader:
    """Hands out tensors of the state dict and remembers which were taken."""

    def __init__(self, state: Mapping[str, np.ndarray]) -> None:
        self.state = state
        self.taken: set[str] = set()

    def take(self, name: str) -> np.ndarray:
        if name not in self.state:
            raise InputError(f"reference checkpoint: {name} is missing")
        self.taken.add(name)
        array = self.state[name]
        return array.astype(np.float32) if array.dtype.kind == "f" else array

    def affine(self, target: str, source: str) -> Tensors:
        return {f"{target}.{part}": self.take(f"{source}.{part}") for part in ("weight", "bias")}

    def norm(self, target: str, source: str) -> Tensors:
        return {f"{target}.{part}": self.take(f"{source}.{part}") for part in _NORM}

    def joined(self, target: str, sources: list[str], parts: tuple[str, ...]) -> Tensors:
        return {
            f"{target}.{part}": np.concatenate([self.take(f"{source}.{part}") for source in sources]) for part in parts
        }


def from_reference(state: Mapping[str, np.ndarray]) -> tuple[Tensors, list[str]]:
    """Rename and regroup a reference state dict.

    Args:
        state: name → array, as in the reference's ``RecognizerGCN.state_dict()``.

    Returns:
        The parameters of ``Recogniser`` for the matching configuration, and the names that were not mapped.

    Raises:
        InputError: a tensor that every reference recogniser has is missing.
    """
    reader = _Reader(state)
    weights = _stem(reader) | _heads(reader)
    found = {int(match[1]) for name in state if (match := re.match(r"backbone\.gcn\.(\d+)\.", name))}
    joints = reader.take("backbone.gcn.0.gcn.A").shape[-1]
    for block in sorted(found):
        weights |= _graph_conv(reader, block) | _temporal_conv(reader, block, joints) | _residual(reader, block)
    return weights, sorted(set(state) - reader.taken)


def _stem(reader: _Reader) -> Tensors:
    weights = reader.norm("stem.norm", "backbone.data_bn")
    if "backbone.pos_embedding" in reader.state:
        weights |= reader.affine("stem.embed", "backbone.to_joint_embedding")
        weights["stem.position"] = reader.take("backbone.pos_embedding")[0]
    return weights


def _heads(reader: _Reader) -> Tensors:
    weights = reader.affine("classifier", "cls_head.fc_cls") | reader.affine("alignment", _TEXT_HEAD)
    weights["constraint.weight"] = reader.take("backbone.direct_fc.weight")[:, :, 0, 0]
    weights["constraint.bias"] = reader.take("backbone.direct_fc.bias")
    weights["logit_scale"] = reader.take("backbone.logit_scale")[0, 0]
    return weights


def _graph_conv(reader: _Reader, block: int) -> Tensors:
    ours, theirs = f"blocks.{block}.graph_conv", f"backbone.gcn.{block}.gcn"
    weights = {
        f"{ours}.graph": reader.take(f"{theirs}.A"),
        f"{ours}.relation_scale": reader.take(f"{theirs}.alpha")[0],
        f"{ours}.attention_scale": reader.take(f"{theirs}.beta")[0],
    }
    for name, source in (("source", "conv1"), ("target", "conv2")):
        projection = reader.affine(f"{ours}.{name}", f"{theirs}.{source}")
        projection[f"{ours}.{name}.weight"] = projection[f"{ours}.{name}.weight"][..., 0]
        weights |= projection
    weights |= reader.affine(f"{ours}.pre", f"{theirs}.pre.0") | reader.norm(f"{ours}.pre_norm", f"{theirs}.pre.1")
    weights |= reader.affine(f"{ours}.post", f"{theirs}.post") | reader.norm(f"{ours}.norm", f"{theirs}.bn")
    if f"{theirs}.down.0.weight" in reader.state:
        weights |= reader.affine(f"{ours}.shortcut.0", f"{theirs}.down.0")
        weights |= reader.norm(f"{ours}.shortcut.1", f"{theirs}.down.1")
    return weights


def _temporal_conv(reader: _Reader, block: int, joints: int) -> Tensors:
    ours, theirs = f"blocks.{block}.temporal_conv", f"backbone.gcn.{block}.tcn"
    plain = re.compile(rf"{re.escape(theirs)}\.branches\.(\d+)\.weight")
    last = next(int(match[1]) for name in reader.state if (match := plain.fullmatch(name)))
    normed = [f"{theirs}.branches.{number}" for number in range(last)]
    weights = reader.joined(f"{ours}.project", [f"{branch}.0" for branch in normed], ("weight", "bias"))
    weights |= reader.affine(f"{ours}.plain", f"{theirs}.branches.{last}")
    weights |= reader.joined(f"{ours}.project_norm", [f"{branch}.1" for branch in normed], _NORM[:4])
    counts = [reader.take(f"{branch}.1.num_batches_tracked") for branch in normed]
    weights[f"{ours}.project_norm.num_batches_tracked"] = counts[0]
    for number, branch in enumerate(normed):
        if f"{branch}.3.conv.weight" in reader.state:
            weights |= reader.affine(f"{ours}.branches.{number}", f"{branch}.3.conv")
    # The reference always keeps 25 coefficients and uses the first V.
    weights[f"{ours}.global_weight"] = reader.take(f"{theirs}.add_coeff")[:joints]
    weights |= reader.norm(f"{ours}.merge_norm", f"{theirs}.transform.0")
    weights |= reader.affine(f"{ours}.merge", f"{theirs}.transform.2")
    return weights | reader.norm(f"{ours}.norm", f"{theirs}.bn")


def _residual(reader: _Reader, block: int) -> Tensors:
    ours, theirs = f"blocks.{block}.residual", f"backbone.gcn.{block}.residual"
    if f"{theirs}.conv.weight" not in reader.state:
        return {}
    return reader.affine(f"{ours}.0", f"{theirs}.conv") | reader.norm(f"{ours}.1", f"{theirs}.bn")
