"""The six streams of a skeleton: joints, bones, k-bones, and their motion."""

from __future__ import annotations

import torch
from torch import Tensor

from components.contracts.skeleton import Layout


def stream_features(joints: Tensor, layout: Layout, stream: str) -> Tensor:
    """Turn joint positions into the input of one stream.

    Args:
        joints: ``[..., T, V, 3]``.
        layout: gives the bones and k-bones.
        stream: one of ``components.contracts.skeleton.STREAMS``.

    Returns:
        Same shape. Bones are child minus parent (roots zero); motion is the next frame minus this one,
        zero at the last.
    """
    features = joints
    if not stream.startswith("j"):
        reference = torch.as_tensor(layout.pairs(stream)[:, 1], device=joints.device)
        features = joints - joints[..., reference, :]
    if stream.endswith("m"):
        moved = torch.zeros_like(features)
        moved[..., :-1, :, :] = features[..., 1:, :, :] - features[..., :-1, :, :]
        features = moved
    return features
