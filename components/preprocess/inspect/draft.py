"""The configuration that suits a stranger's data, decided from what is seen of them: for ``init``."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.contracts.config import SIZES
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout
from components.preprocess.inspect.directions import up_axis, views_differ
from components.preprocess.inspect.effort import duration, seconds_of
from components.preprocess.inspect.glimpse import Glimpse
from components.preprocess.inspect.guess import candidates, doubts, is_flat
from components.preprocess.inspect.inspection import Holdings
from components.preprocess.inspect.units import CENTIMETRES, TALLEST, body_size
from components.preprocess.splitting import subject_of

SUBJECTS = (r"(?:^|[^A-Za-z])S\d{3}C\d{3}P(\d{3})", r"(?:^|[_\-])(?:subject|subj|sub|s|p)[_\-]?(\d+)", r"^s(\d+)s")
"""Where ids say who is seen: NTU's, and ``a01_s02_e03``, ``subject_7`` and the like."""
SIDED = re.compile(r"(?<![a-z])(left|right|(anti|counter)?-?clockwise)(?![a-z])")
"""In names of classes that are others in the mirror."""
TURNED = [0.15, 0.15, 0.4]
"""Radians about x, y and z, which bodies stand along: they lean less than they turn."""
TEST_SHARE = 0.25
IMAGES = ((256, 340), (480, 640), (480, 854), (720, 1280), (1080, 1920), (2160, 3840))
"""Usual images, (height, width); turned ones are tried too."""
FRAMES = (16, 64)
MOST_SAMPLES = {"tiny": 1000, "small": 3000, "medium": 10_000}
"""Training samples up to which a network of a size is taken: tiny was ahead of medium with 600; the rest is judged."""
LONGEST = 3600.0
"""Seconds; of a network that takes longer the next smaller one is taken."""
EPOCHS = (12, 150)
PASSES = 60_000
"""Samples that training sees, all epochs together, as far as ``EPOCHS`` allows."""


@dataclass
class Draft:
    """An experiment's sections, and per key what a person should know of it.

    ``training``: the input's split that is trained on; empty where splits are made here.
    """

    data: dict[str, Any]
    train: dict[str, Any]
    model: dict[str, Any]
    why: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cores: int = 2
    training: str = ""
    loud: list[str] = field(default_factory=list)


def draft(found: Holdings, layout: str | None = None) -> Draft:
    """Decide on a configuration.

    Args:
        found: what ``inspection`` saw.
        layout: take this layout; else the likeliest.

    Raises:
        InputError: no usable sample, fewer than two classes, or no layout with this number of joints.
    """
    if found.form is None or not found.labels:
        count, reason = max(((len(ids), reason) for reason, ids in found.faults.items()), default=(0, ""))
        why = f"; most frequent reason ({count} times): {reason}" if count else ""
        raise InputError(f"no sample with a label and skeletons found{why}", at=found.path)
    if len(set(found.labels.values())) < 2:
        raise InputError("found one class, expected at least two", at=found.path)
    names = [layout] if layout else candidates(found)
    if not names:
        raise InputError(
            f"layout: none that ships with us has {found.form[0]} joints; write one (contracts/layouts/README.md) and "
            "name it with --layout",
            at=found.path,
        )
    made = Draft({"layout": names[0]}, {}, {})
    if len(names) > 1:
        made.why["layout"] = f"as many joints: {', '.join(names[1:])}; inspect prints the order of the joints"
    _faults(found, made)
    _classes(found, made)
    _coordinates(found, made)
    _persons(found, made)
    _protocols(found, made)
    _training(found, made)
    for doubt in doubts(found, names[0]):
        if doubt.code in ("joint-order", "upside-down"):
            made.loud.append(doubt.line())
        if doubt.code == "ids-differ":
            made.data["match_ids"] = "loose"
            made.loud.append(f"{doubt.text}: taken for the same")
    return made


def _faults(found: Holdings, made: Draft) -> None:
    """Say how many samples cannot be used, and why most of them."""
    number = sum(map(len, found.faults.values()))
    if number:
        reason, ids = max(found.faults.items(), key=lambda fault: len(fault[1]))
        total = len(found.labels.keys() | {sample_id for of_fault in found.faults.values() for sample_id in of_fault})
        made.loud.append(f"{number} of {total} samples cannot be used; most often ({len(ids)}): {reason}")


def _classes(found: Holdings, made: Draft) -> None:
    low, high = min(found.labels.values()), max(found.labels.values())
    first = 1 if low == 1 and not found.classes else 0
    if found.classes:
        made.data["classes"] = list(found.classes)
    else:
        made.data["classes"] = [f"class {number}" for number in range(first, high + 1)]
        made.why["classes"] = "the input names none: write what they are, in the order of the labels"
    if first:
        made.data["first_label"] = first
        made.why["first_label"] = "labels count from 1"
    single = sum(count == 1 for count in Counter(found.labels.values()).values())
    if single:
        made.loud.append(
            f"{single} of {len(set(found.labels.values()))} classes have a single sample, which cannot be in training "
            "and test: is it the classes that labels, or folders, say?"
        )
    there = {label - first for label in found.labels.values()}
    if len(there) < len(made.data["classes"]):
        made.loud.append(
            f"{len(made.data['classes']) - len(there)} classes have no sample: take them out of data.classes"
        )
        made.data["accept"] = ["class-without-training"]


def _coordinates(found: Holdings, made: Draft) -> None:
    flat = is_flat(found)
    poses = [seen.poses for seen in found.glimpses if np.isfinite(seen.poses).any()]
    made.data["dimensions"] = "2d+score" if flat else "3d"
    if not flat:
        made.data["normalisation"] = "body"
        size = body_size(poses)
        if size > TALLEST:
            made.data["units"] = "millimetres" if size > CENTIMETRES else "centimetres"
            made.why["units"] = f"bodies are {size:.0f} units tall"
        _alignment(found, made)
        return
    made.data["normalisation"] = "image"
    largest = max((float(np.nanmax(np.abs(pose[..., :2]))) for pose in poses), default=1.0)
    known = [seen.image for seen in found.glimpses if seen.image]
    if largest <= 2:
        made.data["units"] = "shares"
        made.why["units"] = "coordinates lie within 0 and 1"
        if not known:
            made.loud.append(
                "shares of images of unknown size are taken as of square ones: set data.image_size if you know it"
            )
    elif not known:
        made.data["image_size"] = guessed_image(found.glimpses)
        made.why["image_size"] = "[height, width]; NOT in the input: guessed from the largest coordinates"
        made.loud.append(f"the input does not say how large its images are: {made.data['image_size']} is a guess")


def _alignment(found: Holdings, made: Draft) -> None:
    layout = load_layout(made.data["layout"])
    if not views_differ(found.glimpses, layout):
        made.data["align"] = False
        made.why["align"] = "true turns every body to the front; these face one way, and it would take that away"
        return
    made.data["align"] = up_axis(found.glimpses, layout) or True
    how = "about this axis, which is up," if isinstance(made.data["align"], str) else "upright and"
    made.why["align"] = f"turns every body {how} to the front: it helps where cameras or directions differ, as here"


def guessed_image(glimpses: list[Glimpse]) -> list[int]:
    """Return the smallest usual image, (height, width), that holds nearly all joints."""
    points = np.concatenate([seen.poses[np.isfinite(seen.poses).all(axis=-1)][:, :2] for seen in glimpses])
    width, height = np.percentile(points, 99.5, axis=0)
    usual = sorted([*IMAGES, *((wide, high) for high, wide in IMAGES)], key=lambda size: size[0] * size[1])
    fitting = [size for size in usual if size[0] >= height and size[1] >= width]
    return list(fitting[0]) if fitting else [int(np.ceil(height)), int(np.ceil(width))]


def _persons(found: Holdings, made: Draft) -> None:
    total, several = found.persons.total(), _several(found)
    made.data["max_persons"] = 2 if several >= 0.1 * total else 1
    made.why["max_persons"] = f"{several} of {total} samples show more than one"


def _several(found: Holdings) -> int:
    """Return how many samples show more than one person."""
    return sum(count for persons, count in found.persons.items() if persons > 1)


def _protocols(found: Holdings, made: Draft) -> None:
    if found.pairs:
        _given_protocols(found, made)
        return
    pattern, subjects = subjects_of(found)
    chosen = _test_subjects(found, subjects)
    if chosen:
        how: dict[str, Any] = {"by": "subject", **({"subject": pattern} if pattern else {}), "test": chosen}
        made.why["splits"] = "MADE HERE, the input has none: of every four persons one is for the test"
        made.loud.append(f"the input has no splits: subjects {', '.join(chosen)} are the test split")
    else:
        how = {"by": "random", "test_share": TEST_SHARE, "seed": 0}
        made.why["splits"] = (
            "MADE HERE, the input has none: a quarter of every class at random. Takes of one person on both sides make "
            "accuracy too good; a split by subject or scene says more"
        )
        made.loud.append("the input has no splits: a quarter of every class is the test split, at random")
    made.data["splits"] = {"made": how}
    made.data["protocols"] = {"made": {"train": "made_train", "test": "made_val", "label": f"made here, {how['by']}"}}
    made.data["protocol"] = "made"


def _given_protocols(found: Holdings, made: Draft) -> None:
    """Take the input's splits, those without leaks first; where all leak, make a test split that does not."""
    leaks = {pair: len(found.twins(*pair)) for pair in found.pairs}
    for (train, test), count in leaks.items():
        if count:
            text = f"{count} of {len(found.splits[test])} samples of {test} are byte-equal to samples of {train}"
            made.loud.append(f"{text}: accuracy would be overstated")
    ordered = sorted(found.pairs, key=lambda pair: leaks[pair] > 0)
    protocols = {_protocol_name(train): {"train": train, "test": test} for train, test in ordered}
    train, test = ordered[0]
    made.training = train
    if 0 < leaks[train, test] < len(found.splits[test]):
        made.data["splits"] = {"unleaked": {"by": "leaks", "of": [train, test]}}
        made.why["splits"] = f"unleaked_val: {test} without the samples that are byte-equal to one of {train}"
        made.loud.append(f"protocol unleaked, the first, leaves these out of {test}")
        protocols = {"unleaked": {"train": "unleaked_train", "test": "unleaked_val"}} | protocols
    made.data["protocols"] = protocols
    made.data["protocol"] = next(iter(protocols))


def _protocol_name(train: str) -> str:
    return re.sub(r"[_\- ]+", "_", re.sub(r"train(ing)?", "_", train)).strip("_") or "given"


def subjects_of(found: Holdings) -> tuple[str, dict[str, str]]:
    """Return the expression that finds subjects in ids (empty: the list of labels says them), and id → subject."""
    if found.subjects and found.subjects.keys() >= found.labels.keys():
        return "", dict(found.subjects)
    for pattern in SUBJECTS:
        said = {sample_id: subject_of(pattern, sample_id) for sample_id in found.labels}
        subjects = {sample_id: subject for sample_id, subject in said.items() if subject is not None}
        if len(subjects) == len(said) and 2 <= len(set(subjects.values())) <= len(said) / 2:
            return pattern, subjects
    return "", {}


def _test_subjects(found: Holdings, subjects: dict[str, str]) -> list[str]:
    """Return every fourth subject, if every class keeps samples of others; else none."""
    everybody = sorted(set(subjects.values()))
    if len(everybody) < 2:
        return []
    test = everybody[3::4] or everybody[-1:]
    left = {found.labels[sample_id] for sample_id, subject in subjects.items() if subject not in test}
    return test if left == set(found.labels.values()) else []


def _training(found: Holdings, made: Draft) -> None:
    frames = int(np.median(list(found.frames.values())))
    clip = int(np.clip(8 * round(frames / 8), *FRAMES))
    number = round(len(found.labels) * (1 - TEST_SHARE))
    if made.training:
        number = len(set(found.splits[made.training]) & found.labels.keys()) or number
    epochs = int(np.clip(PASSES / max(number, 1), *EPOCHS))
    positions = clip * len(load_layout(made.data["layout"]).joints) * made.data["max_persons"]
    made.cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    batch = 16 if number >= 200 else 8
    seconds = {size: seconds_of(size, epochs, number, batch, positions, made.cores) for size in SIZES}
    wanted = next((size for size, most in MOST_SAMPLES.items() if number < most), "published")
    fitting = [size for size in SIZES if seconds[size] <= LONGEST]
    size = min(wanted, fitting[-1] if fitting else "tiny", key=list(SIZES).index)
    made.seconds = seconds[size]
    made.model = {"size": size, "velocity": True}
    made.why["velocity"] = "where a joint goes, beside where it is"
    if _several(found) > 0.5 * found.persons.total():
        made.model["persons"] = "together"
        made.why["persons"] = "in one graph: most samples show two, so what they do is between them"
    made.why["size"] = f"{', '.join(SIZES)}; for {number} training samples on {made.cores} cores: " + ", ".join(
        f"{name} about {duration(seconds[name])}" for name in SIZES
    )
    made.train = _recipe(found, made, epochs, batch, clip)
    made.why["frames"] = f"of a clip; sequences have {frames} in the middle"


def _recipe(found: Holdings, made: Draft, epochs: int, batch: int, clip: int) -> dict[str, Any]:
    """Return what did best on small data sets (README, Accuracy): AdamW; bodies are mirrored where that is allowed."""
    counts = Counter(found.labels.values())
    turned = {} if is_flat(found) else {"rotation": TURNED if isinstance(made.data["align"], str) else 0.3}
    return {
        "epochs": epochs,
        "batch": batch,
        "frames": clip,
        "sampling": "resize",
        "optimizer": "adamw",
        "learning_rate": 0.005,
        "weight_decay": 0.05,
        "warmup_epochs": 2,
        "label_smoothing": 0.1,
        "precise_batch_norm": True,
        "class_balance": max(counts.values()) > 2 * min(counts.values()),
        "mix": False,
        "test_clips": 2,
        "augmentation": {"scale": 0.2, "crop": 0.8, **turned, **_flip(found, made)},
    }


def _flip(found: Holdings, made: Draft) -> dict[str, float]:
    """Return how often bodies are mirrored: never where that would make another class of one, or upset a body."""
    sided = next((name for name in found.classes if SIDED.search(name.lower())), None)
    if is_flat(found):
        return {}
    if sided or not found.classes:
        becomes = f"{sided!r} does" if sided else "'wave left' would"
        made.why["augmentation"] = (
            f"no flip: it may help, but not if a class becomes another in the mirror, as {becomes}"
        )
        return {}
    if not made.data["align"] and up_axis(found.glimpses, load_layout(made.data["layout"])) in ("+x", "-x"):
        return {}
    made.why["augmentation"] = "flip mirrors bodies: take it out if a class becomes another one in the mirror"
    return {"flip": 0.5}
