"""Skeleton layouts: joints, bones, k-bones, mirror pairs and body parts, read from ``layouts/*.yaml``."""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from components.contracts.artifact import canonical_json
from components.contracts.errors import InputError
from components.contracts.overrides import describe

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
    (right, left) are the axes that optional alignment turns onto z and x. Only ``joints`` and ``parents`` need be
    given: the rest follows from names that begin with ``left_`` and ``right_``, and from the root.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    joints: tuple[str, ...]
    parents: dict[str, str]
    drawn_parents: dict[str, str] = {}
    grandparents: dict[str, str] = {}
    mirror: tuple[tuple[str, str], ...]
    parts: dict[str, tuple[str, ...]]
    centre: str
    upright: tuple[str, str]
    across: tuple[str, str]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        joints, parents = (given.get("joints"), given.get("parents")) if isinstance(given, dict) else (None, None)
        if not isinstance(joints, list | tuple) or not isinstance(parents, dict) or not all(map(_is_text, joints)):
            return given
        root = next((joint for joint in joints if parents.get(joint) == joint), joints[0] if joints else "")
        sides = [(name, f"right_{name[5:]}") for name in joints if name.startswith("left_")]
        pairs = [pair for pair in sides if pair[1] in joints]
        across = next((pair for pair in pairs if pair[0] in ("left_shoulder", "left_hip")), (root, root))
        up = next((name for name in ("neck", "upper_spine", "spine", "left_shoulder") if name in joints), root)
        low = next((name for name in ("pelvis", "left_hip") if name in joints), root)
        derived = {
            "mirror": pairs,
            "parts": _parts(joints),
            "centre": root,
            "upright": (low, up),
            "across": across[::-1],
        }
        return {**derived, **given}

    @model_validator(mode="after")
    def _names_are_joints(self) -> Layout:
        if len(set(self.joints)) != len(self.joints):
            raise ValueError("a joint name stands twice")
        if set(self.parents) != set(self.joints):
            missing = ", ".join(sorted(set(self.joints) - set(self.parents))) or "none"
            raise ValueError(f"parents must name every joint once, a root as its own parent; missing: {missing}")
        if unknown := set(self.parents.values()) - set(self.joints):
            raise ValueError(f"parents: not joints of this layout: {', '.join(sorted(unknown))}")
        if circle := [name for name in self.joints if not self._reaches_a_root(name)]:
            raise ValueError(f"parents go round in a circle: {', '.join(circle)}; a root is its own parent")
        if sorted(joint for part in self.parts.values() for joint in part) != sorted(self.joints):
            raise ValueError("parts must hold every joint exactly once")
        named = {*self.parents.values(), *self.drawn_parents, *self.drawn_parents.values()}
        named |= {*self.grandparents, *self.grandparents.values()}
        named |= {joint for pair in self.mirror for joint in pair}
        named |= {self.centre, *self.upright, *self.across}
        if unknown := named - set(self.joints):
            raise ValueError(f"not joints of this layout: {', '.join(sorted(unknown))}")
        return self

    def _reaches_a_root(self, joint: str) -> bool:
        for _ in self.joints:
            if self.parents[joint] == joint:
                return True
            joint = self.parents[joint]
        return False

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


_LIMBS = {
    "arm": ("clavicle", "shoulder", "elbow", "wrist", "hand", "thumb", "finger", "index", "pinky"),
    "leg": ("hip", "knee", "ankle", "foot", "heel", "toe"),
}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _parts(joints: list[str] | tuple[str, ...]) -> dict[str, list[str]]:
    """Sort joints into trunk and limbs by their names."""
    parts: dict[str, list[str]] = {}
    for name in joints:
        side, _, rest = name.partition("_")
        limbs = [limb for limb, words in _LIMBS.items() if any(word in rest for word in words)]
        # left_foot_index is of the leg, though an index is of the hand
        part = f"{side}_{limbs[-1]}" if side in ("left", "right") and limbs else "trunk"
        parts.setdefault(part, []).append(name)
    return parts


def layout_names() -> list[str]:
    """Return the names of all layouts that ship with the package."""
    files = resources.files("components.contracts").joinpath("layouts").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


@lru_cache
def load_layout(name: str) -> Layout:
    """Return a layout by its name, or the one that an inline text holds (see ``inline_layout``).

    Raises:
        InputError: there is none of this name, and the known ones are listed; or the text holds no layout.
    """
    if name.startswith("{"):
        try:
            document = json.loads(name)
        except ValueError:
            raise InputError(f"layout: found {name[:40]!r}, not the JSON of a layout") from None
        return _layout(document, "layout")
    if name not in layout_names():
        known = ", ".join(layout_names())
        raise InputError(f"layout: found {name!r}, expected one of {known}, or the path of a .yaml file")
    text = resources.files("components.contracts").joinpath("layouts", f"{name}.yaml").read_text(encoding="utf-8")
    return Layout(name=name, **yaml.safe_load(text))


def is_layout_path(name: str) -> bool:
    """Tell the path of a layout's file from a name and from an inline layout."""
    return name.endswith((".yaml", ".yml"))


def inline_layout(document: dict[str, Any], where: str = "layout") -> str:
    """Return a layout as the text that stands for it in a configuration: equal layouts, equal text.

    Raises:
        InputError: the mapping is no layout; the line begins with ``where`` and names the field.
    """
    return canonical_json(_layout(document, where).model_dump(mode="json"))


def read_layout(path: Path) -> str:
    """Read a layout from a YAML file and return its inline text; it is called as the file unless it has a name.

    Raises:
        InputError: the file cannot be read, or holds no layout.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"layout cannot be read: {reason}", at=path) from None
    except yaml.YAMLError as error:
        raise InputError(f"not valid YAML: {getattr(error, 'problem', error)}", at=path) from None
    if not isinstance(document, dict):
        raise InputError(f"found {type(document).__name__}, expected a layout: joints, parents, …", at=path)
    return inline_layout({"name": path.stem, **document}, str(path))


def _layout(document: dict[str, Any], where: str) -> Layout:
    try:
        return Layout.model_validate({"name": "own", **document})
    except ValidationError as error:
        raise InputError(describe(where, error)) from None
