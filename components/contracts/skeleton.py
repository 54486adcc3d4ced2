"""Skeleton layouts: joints, bones, k-bones, mirror pairs and body parts, read from ``layouts/*.yaml``."""

from __future__ import annotations

from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, model_validator

from components.contracts.errors import InputError

STREAMS = ("j", "b", "k", "jm", "bm", "km")
"""Joint, bone, k-bone, and the motion (frame difference) of each; the order of the published ensembles."""

STREAM_NAMES = {
    "j": "joint",
    "b": "bone",
    "k": "k-bone",
    "jm": "joint motion",
    "bm": "bone motion",
    "km": "k-bone motion",
}


class Layout(BaseModel):
    """One skeleton layout. Joint numbers are 0-based positions in ``joints``, V = ``len(joints)``.

    ``parents`` gives each joint's bone (a root is its own parent); ``drawn_parents`` overrides it where
    the anatomical limb differs, ``grandparents`` overrides the k-bone where the published one does;
    ``mirror`` lists (left, right) pairs; ``parts`` partitions the joints into body parts; ``centre`` is
    the joint that normalisation moves to the origin; ``upright`` (lower, upper) and ``across``
    (right, left) are the axes that optional alignment turns onto z and x.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    joints: tuple[str, ...]
    parents: dict[str, str]
    drawn_parents: dict[str, str] = {}
    grandparents: dict[str, str] = {}
    mirror: tuple[tuple[str, str], ...]
    parts: dict[str, tuple[str, ...]]
    centre: str
    upright: tuple[str, str]
    across: tuple[str, str]

    @model_validator(mode="after")
    def _names_are_joints(self) -> Layout:
        if len(set(self.joints)) != len(self.joints):
            raise ValueError("a joint name stands twice")
        if set(self.parents) != set(self.joints):
            raise ValueError("parents must name every joint once")
        if sorted(joint for part in self.parts.values() for joint in part) != sorted(self.joints):
            raise ValueError("parts must hold every joint exactly once")
        named = {*self.parents.values(), *self.drawn_parents, *self.drawn_parents.values()}
        named |= {*self.grandparents, *self.grandparents.values()}
        named |= {joint for pair in self.mirror for joint in pair}
        named |= {self.centre, *self.upright, *self.across}
        if unknown := named - set(self.joints):
            raise ValueError(f"not joints of this layout: {', '.join(sorted(unknown))}")
        return self

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.joints)}

    def number(self, joint: str) -> int:
        """Return the number of a joint; ``KeyError`` if the layout has no such joint."""
        return self._numbers[joint]

    @cached_property
    def bones(self) -> npt.NDArray[np.int64]:
        """Per joint v the pair (v, parent of v): int64 ``[V, 2]``. A root's bone is itself, hence zero."""
        pairs = [(v, self._numbers[self.parents[name]]) for v, name in enumerate(self.joints)]
        return np.asarray(pairs, dtype=np.int64)

    @cached_property
    def kbones(self) -> npt.NDArray[np.int64]:
        """Per joint v the pair (v, grandparent of v), or (v, v) where the parent is a root: int64 ``[V, 2]``."""
        parent = self.bones[:, 1]
        is_root = parent[parent] == parent
        grandparent = np.where(is_root, np.arange(len(parent)), parent[parent])
        for joint, other in self.grandparents.items():
            grandparent[self._numbers[joint]] = self._numbers[other]
        return np.stack([np.arange(len(parent)), grandparent], axis=1)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The limbs as (child, parent) joint numbers, for drawing and for graph distances."""
        drawn = {**self.parents, **self.drawn_parents}
        return tuple(
            (self._numbers[child], self._numbers[drawn[child]]) for child in self.joints if drawn[child] != child
        )

    @cached_property
    def mirrored(self) -> npt.NDArray[np.int64]:
        """The permutation of joints that swaps left and right: int64 ``[V]``."""
        permutation = np.arange(len(self.joints))
        for left, right in self.mirror:
            a, b = self._numbers[left], self._numbers[right]
            permutation[a], permutation[b] = b, a
        return permutation

    @cached_property
    def part_numbers(self) -> dict[str, tuple[int, ...]]:
        """Body part → its joint numbers."""
        return {part: tuple(self._numbers[joint] for joint in joints) for part, joints in self.parts.items()}

    def pairs(self, stream: str) -> npt.NDArray[np.int64]:
        """The (joint, reference joint) pairs behind a stream: bones for b/bm, k-bones for k/km, (v, v) for j/jm."""
        if stream not in STREAMS:
            raise InputError(f"stream: found {stream!r}, expected one of {', '.join(STREAMS)}")
        if stream.startswith("j"):
            every = np.arange(len(self.joints))
            return np.stack([every, every], axis=1)
        return self.bones if stream.startswith("b") else self.kbones

    def stream_mask(self, joint_mask: npt.NDArray[Any], stream: str) -> npt.NDArray[np.float32]:
        """Turn critical joints into critical positions of a stream.

        Args:
            joint_mask: ``[classes, V]``: 1 or the weight, above 0, of the critical joints of each class, else 0.
            stream: one of ``STREAMS``.

        Returns:
            float32 ``[classes, V]``: a (k-)bone is critical if a critical joint is at either end, as in the
            reference (QUIRKS 9); it weighs what the heavier end weighs.
        """
        pairs = self.pairs(stream)
        return np.asarray(joint_mask[:, pairs].max(axis=2), dtype=np.float32)


def layout_names() -> list[str]:
    """Return the names of all layouts that ship with the package."""
    files = resources.files("components.contracts").joinpath("layouts").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


@lru_cache
def load_layout(name: str) -> Layout:
    """Return the layout of this name; ``InputError`` lists the known ones if there is none."""
    if name not in layout_names():
        raise InputError(f"layout: found {name!r}, expected one of {', '.join(layout_names())}")
    text = resources.files("components.contracts").joinpath("layouts", f"{name}.yaml").read_text(encoding="utf-8")
    return Layout(name=name, **yaml.safe_load(text))
