"""Synthetic actions for a first run without data: not recordings, nothing here was measured on people.

A 25-joint body (layout ``ntu25``) moves by forward kinematics: every action is a handful of key poses in joint
angles, blended over time, for subjects of different build and habits, seen from three sides by a noisy sensor.
Neighbouring classes are alike on purpose (the two waves, reading and writing, putting on and taking off), so
that a recogniser confuses some and the agent has something to tell apart.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.skeleton import load_layout

TRAIN_SUBJECTS = 4
TEST_SUBJECTS = 2
TAKES = 5
FRAMES = (30, 60)
VIEWS = (-40.0, 0.0, 40.0)
"""Where the camera stands: degrees about the vertical."""

Angles = dict[str, float]
Curves = dict[str, npt.NDArray[np.float64]]
Array = npt.NDArray[np.float64]

SIDES = ("left", "right")
CHANNELS = (
    "lean",
    "turn",
    "nod",
    *(f"{side}_{angle}" for side in SIDES for angle in ("raise", "side", "twist", "elbow", "hip", "knee")),
)
"""The body's degrees of freedom, in degrees; 0 is standing upright with hanging arms. ``raise`` lifts an arm
forward, ``side`` sideways, ``twist`` turns the upper arm inwards, ``elbow``, ``hip`` and ``knee`` bend."""

REST: Angles = {"left_side": 9, "right_side": 9, "left_elbow": 15, "right_elbow": 15}
SEATED: Angles = {"lean": 8, "left_hip": 85, "right_hip": 85, "left_knee": 88, "right_knee": 88}


@dataclass(frozen=True)
class Swing:
    """A repeated movement of one channel: ``degrees`` either way, ``cycles`` times between two phases."""

    channel: str
    degrees: float
    cycles: float
    start: float
    end: float


@dataclass(frozen=True)
class Action:
    """Key poses (phase 0 … 1, angles that differ from rest) and swings.

    ``either_hand``: some takes are done with the other hand.
    """

    name: str
    poses: tuple[tuple[float, Angles], ...]
    swings: tuple[Swing, ...] = ()
    either_hand: bool = False


def _both(angles: Angles) -> Angles:
    return {f"{side}_{angle}": value for angle, value in angles.items() for side in SIDES}


_MOUTH: Angles = {"right_raise": 74, "right_side": 40, "right_twist": 10, "right_elbow": 127}
_EAR: Angles = {"right_raise": 86, "right_side": 48, "right_twist": -20, "right_elbow": 132}
_HIGH: Angles = {"right_raise": 20, "right_side": 72, "right_twist": -85, "right_elbow": 85}
_BOOK: Angles = {"nod": 24, **_both({"raise": 32, "side": 14, "twist": 28, "elbow": 98})}
_DESK: Angles = {"nod": 28, **_both({"raise": 22, "side": 12, "twist": 34, "elbow": 80})}
_RIGHT_SLEEVE: Angles = {
    "turn": -15, "right_raise": -28, "right_side": 38, "right_elbow": 45,
    "left_raise": 42, "left_twist": 62, "left_elbow": 88,
}  # fmt: skip
_LEFT_SLEEVE: Angles = {
    "turn": 15, "left_raise": -28, "left_side": 38, "left_elbow": 45,
    "right_raise": 42, "right_twist": 62, "right_elbow": 88,
}  # fmt: skip
_COLLAR: Angles = _both({"raise": 48, "side": 18, "twist": 42, "elbow": 112})


def _mirrored(angles: Mapping[str, float]) -> Angles:
    other = {"left": "right", "right": "left"}
    swapped = {}
    for channel, value in angles.items():
        side, _, angle = channel.partition("_")
        swapped[f"{other[side]}_{angle}" if side in other else channel] = value
    return {**swapped, **({"turn": -swapped["turn"]} if "turn" in swapped else {})}


def _wave(side: str) -> Action:
    pose = _HIGH if side == "right" else _mirrored(_HIGH)
    swings = (Swing(f"{side}_twist", 24, 3, 0.2, 0.85), Swing(f"{side}_side", 6, 3, 0.2, 0.85))
    return Action(f"wave {side} hand", ((0, {}), (0.2, pose), (0.85, pose), (1, {})), swings)


ACTIONS: tuple[Action, ...] = (
    Action(
        "drink water",
        ((0, {}), (0.3, _MOUTH), (0.45, {**_MOUTH, "nod": -12}), (0.65, {**_MOUTH, "nod": -12}), (1, {})),
        (Swing("right_raise", 6, 1, 0.35, 0.7),),
        either_hand=True,
    ),
    Action(
        "phone call",
        ((0, {}), (0.3, _EAR), (0.75, {**_EAR, "nod": 4}), (1, {})),
        (Swing("nod", 5, 1.5, 0.3, 0.75),),
        either_hand=True,
    ),
    _wave("right"),
    _wave("left"),
    Action("sit down", ((0, {}), (0.15, {}), (0.5, {**SEATED, "lean": 32}), (0.75, SEATED), (1, SEATED))),
    Action("stand up", ((0, SEATED), (0.2, SEATED), (0.45, {**SEATED, "lean": 34}), (0.8, {}), (1, {}))),
    Action(
        "put on jacket",
        ((0, {}), (0.28, _RIGHT_SLEEVE), (0.55, _LEFT_SLEEVE), (0.8, _COLLAR), (1, {})),
        either_hand=True,
    ),
    Action(
        "take off jacket",
        ((0, {}), (0.22, _COLLAR), (0.47, _LEFT_SLEEVE), (0.75, _RIGHT_SLEEVE), (1, {})),
        either_hand=True,
    ),
    Action(
        "reading",
        ((0, {}), (0.15, _BOOK), (0.9, _BOOK), (1, {})),
        (Swing("right_twist", 20, 1, 0.4, 0.7), Swing("nod", 3, 2, 0.2, 0.85)),
    ),
    Action(
        "writing",
        ((0, {}), (0.15, _DESK), (0.9, _DESK), (1, {})),
        (Swing("right_twist", 9, 6, 0.2, 0.85), Swing("right_elbow", 5, 6, 0.2, 0.85)),
    ),
)

CLASSES: tuple[str, ...] = tuple(action.name for action in ACTIONS)


@dataclass(frozen=True)
class Subject:
    """A person: size of the limbs against an adult of 1.7 m, pace, liveliness and posture (degrees)."""

    height: float
    arms: float
    width: float
    pace: float
    liveliness: float
    posture: Angles = field(default_factory=dict)


def write_demo(path: Path, seed: int = 0) -> None:
    """Write an annotation pickle (PYSKL format) of synthetic actions; equal seeds give equal bytes.

    Each sequence is float32 ``[1, T, 25, 3]`` in metres, x to the right, y up, z away from the camera. The
    splits ``xsub_train`` and ``xsub_val`` hold different subjects.
    """
    rng = np.random.default_rng(seed)
    subjects = [_subject(rng) for _ in range(TRAIN_SUBJECTS + TEST_SUBJECTS)]
    splits: dict[str, list[str]] = {"xsub_train": [], "xsub_val": []}
    annotations = []
    for label, action in enumerate(ACTIONS):
        for number, subject in enumerate(subjects):
            for take in range(TAKES):
                view = take % len(VIEWS)
                name = f"demo_a{label + 1:02d}_s{number + 1:02d}_e{take + 1:02d}_v{view + 1:02d}"
                annotations.append(_annotation(name, label, perform(action, subject, VIEWS[view], rng)))
                splits["xsub_train" if number < TRAIN_SUBJECTS else "xsub_val"].append(name)
    content = pickle.dumps({"split": splits, "annotations": annotations}, protocol=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _annotation(name: str, label: int, joints: Array) -> dict[str, Any]:
    # A tenth of a millimetre hides the last bits, in which processors' sines differ.
    keypoint = np.round(joints, 4).astype(np.float32)[None]
    return {"frame_dir": name, "label": label, "total_frames": keypoint.shape[1], "keypoint": keypoint}


def _subject(rng: np.random.Generator) -> Subject:
    return Subject(
        height=rng.uniform(0.88, 1.12),
        arms=rng.uniform(0.93, 1.07),
        width=rng.uniform(0.88, 1.12),
        pace=rng.uniform(0.85, 1.15),
        liveliness=rng.uniform(0.8, 1.2),
        posture={channel: rng.normal(0, 4) for channel in CHANNELS},
    )


def perform(action: Action, subject: Subject, view: float, rng: np.random.Generator) -> Array:
    """Return one take as the sensor sees it: ``[T, 25, 3]``."""
    frames = int(np.clip(rng.uniform(*FRAMES) / subject.pace, *FRAMES))
    curves = _curves(action, frames, subject, rng)
    joints = _body(curves, subject)
    return _seen(joints, view, rng)


def _curves(action: Action, frames: int, subject: Subject, rng: np.random.Generator) -> Curves:
    """Angles over time: the action, performed at this take's rhythm and size, on top of posture and sway."""
    start, end = rng.uniform(0, 0.12), rng.uniform(0.88, 1)
    time = np.linspace(0, 1, frames)
    phase = start + (end - start) * np.clip(time + rng.uniform(-0.09, 0.09) * np.sin(np.pi * time), 0, 1)
    mirror = action.either_hand and rng.random() < 0.3
    keys = [{**REST, **(_mirrored(pose) if mirror else pose)} for _, pose in action.poses]
    phases = np.array([at for at, _ in action.poses])
    phases[1:-1] += rng.normal(0, 0.025, len(phases) - 2)
    curves = {}
    for channel in CHANNELS:
        values = np.array([key.get(channel, 0.0) for key in keys]) * rng.normal(subject.liveliness**0.3, 0.08)
        sway = rng.normal(0, 2) * np.sin(2 * np.pi * (rng.uniform(0.5, 2.5) * time + rng.random()))
        curves[channel] = _blend(phase, phases, values) + subject.posture[channel] + rng.normal(0, 4) + sway
    for swing in action.swings:
        channel = next(iter(_mirrored({swing.channel: 0.0}))) if mirror else swing.channel
        curves[channel] += _swing(swing, phase, subject, rng)
    for side in SIDES:
        for joint in ("elbow", "knee"):
            curves[f"{side}_{joint}"] = np.maximum(curves[f"{side}_{joint}"], 0)
    return curves


def _blend(phase: Array, phases: Array, values: Array) -> Array:
    """Interpolate between key values with zero speed at each of them."""
    place = np.interp(phase, np.maximum.accumulate(phases), np.arange(len(phases)))
    whole = np.floor(place)
    part = place - whole
    eased = whole + part * part * (3 - 2 * part)
    return np.interp(eased, np.arange(len(values)), values)


def _swing(swing: Swing, phase: Array, subject: Subject, rng: np.random.Generator) -> Array:
    inside = np.clip((phase - swing.start) / (swing.end - swing.start), 0, 1)
    cycles = swing.cycles * rng.uniform(0.75, 1.3)
    size = swing.degrees * subject.liveliness * rng.uniform(0.6, 1.3)
    return size * np.sin(2 * np.pi * cycles * inside) * np.sin(np.pi * inside) ** 0.5


def _rotation(axis: str, degrees: Array) -> Array:
    """Rotations about one axis, ``[T, 3, 3]``."""
    angle = np.radians(degrees)
    cosine, sine, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = {
        "x": ((one, zero, zero), (zero, cosine, -sine), (zero, sine, cosine)),
        "y": ((cosine, zero, sine), (zero, one, zero), (-sine, zero, cosine)),
        "z": ((cosine, -sine, zero), (sine, cosine, zero), (zero, zero, one)),
    }[axis]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _body(curves: Curves, subject: Subject) -> Array:
    """Forward kinematics: ``[T, 25, 3]``, x to the person's left, y up, z forward, the feet on the floor."""
    size, width = subject.height, subject.height * subject.width
    trunk = _rotation("y", curves["turn"]) @ _rotation("x", curves["lean"])
    head = trunk @ _rotation("x", curves["nod"])
    at: dict[str, Array] = {"pelvis": np.zeros((len(trunk), 3))}

    def attach(joint: str, to: str, turned: Array, *offset: float) -> None:
        at[joint] = at[to] + turned @ np.array(offset)

    attach("spine", "pelvis", trunk, 0, 0.27 * size, 0)
    attach("upper_spine", "spine", trunk, 0, 0.22 * size, 0)
    attach("neck", "upper_spine", trunk, 0, 0.07 * size, 0)
    attach("head", "neck", head, 0, 0.15 * size, 0.02 * size)
    for side, sign in (("left", 1), ("right", -1)):
        arm = subject.arms * size
        upper = (
            trunk
            @ _rotation("z", sign * curves[f"{side}_side"])
            @ _rotation("x", -curves[f"{side}_raise"])
            @ _rotation("y", -sign * curves[f"{side}_twist"])
        )
        fore = upper @ _rotation("x", -curves[f"{side}_elbow"])
        attach(f"{side}_shoulder", "upper_spine", trunk, sign * 0.18 * width, -0.03 * size, 0)
        attach(f"{side}_elbow", f"{side}_shoulder", upper, 0, -0.28 * arm, 0)
        attach(f"{side}_wrist", f"{side}_elbow", fore, 0, -0.25 * arm, 0)
        attach(f"{side}_hand", f"{side}_wrist", fore, 0, -0.08 * arm, 0)
        attach(f"{side}_hand_tip", f"{side}_hand", fore, 0, -0.08 * arm, 0)
        attach(f"{side}_thumb", f"{side}_wrist", fore, -sign * 0.03 * arm, -0.07 * arm, 0.03 * arm)
        thigh = _rotation("x", -curves[f"{side}_hip"])
        shin = thigh @ _rotation("x", curves[f"{side}_knee"])
        attach(f"{side}_hip", "pelvis", np.eye(3), sign * 0.08 * width, -0.06 * size, 0)
        attach(f"{side}_knee", f"{side}_hip", thigh, 0, -0.40 * size, 0)
        attach(f"{side}_ankle", f"{side}_knee", shin, 0, -0.38 * size, 0)
        attach(f"{side}_foot", f"{side}_ankle", np.eye(3), 0, -0.06 * size, 0.12 * size)
    floor = (at["left_ankle"] + at["right_ankle"]) / 2
    return np.stack([at[joint] for joint in load_layout("ntu25").joints], axis=1) - floor[:, None]


def _seen(joints: Array, view: float, rng: np.random.Generator) -> Array:
    """Put the person before the camera and add what the sensor does: jitter, drift and lost hands."""
    frames, number, _ = joints.shape
    facing = np.array(180 + view + rng.normal(0, 12))
    tilt = np.array(rng.normal(0, 4))
    turned = joints @ (_rotation("x", tilt) @ _rotation("y", facing)).T
    placed = turned + np.array([rng.normal(0, 0.3), -0.9 + rng.normal(0, 0.1), rng.uniform(2.2, 3.4)])
    reach = np.linalg.norm(joints - joints[:, :1], axis=2, keepdims=True)
    jitter = rng.normal(0, 0.006, joints.shape) * (1 + reach)
    steps = rng.normal(0, 0.012, (6, number, 3))
    time = np.linspace(0, 5, frames)
    drift = np.stack([np.interp(time, np.arange(6), column) for column in steps.reshape(6, -1).T], axis=1)
    placed = placed + jitter + drift.reshape(joints.shape)
    if rng.random() < 0.25:
        names = load_layout("ntu25")
        side = SIDES[int(rng.integers(2))]
        lost = [names.number(f"{side}_{part}") for part in ("wrist", "hand", "hand_tip", "thumb")]
        first = int(rng.integers(frames - 8))
        placed[first : first + 8, lost] += rng.normal(0, 0.12, 3)
    return placed
