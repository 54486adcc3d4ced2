"""What data without a configuration most likely are, and what is doubtful about them: for ``inspect`` and ``init``."""

from __future__ import annotations

from collections import Counter

from components.contracts.config import DataConfig
from components.contracts.skeleton import layout_names, load_layout
from components.preprocess.inspect.anatomy import distances, fits
from components.preprocess.inspect.doubts import Doubt
from components.preprocess.inspect.inspection import LAYOUTS, Holdings
from components.preprocess.inspect.survey import Survey
from components.preprocess.inspect.units import MEDIAPIPE, are_shares, looks_scored


def candidates(found: Holdings) -> list[str]:
    """Return the layouts with the data's number of joints, those that suit the bodies seen first."""
    if found.form is None:
        return []
    joints, channels, _ = found.form
    apart = distances(found.glimpses)
    usual = LAYOUTS.get((joints, channels))
    if apart is None:
        others = [name for name in layout_names() if len(load_layout(name).joints) == joints and name != usual]
        return [*([usual] if usual else []), *others]
    ranked = fits(apart)
    good = [one.layout.name for one in ranked if one.good]
    rest = [one.layout.name for one in ranked if not one.good]
    return sorted(good, key=lambda name: name != usual) + rest


def is_flat(found: Holdings) -> bool:
    """Whether the coordinates are 2d: two of them, with a score, or three of which one is a score."""
    if found.form is None:
        return False
    joints, channels, scored = found.form
    poses = [seen.poses for seen in found.glimpses]
    if scored or channels == 2 or looks_scored(poses):
        return True
    return joints == MEDIAPIPE and bool(poses) and are_shares(poses)


def assumed(found: Holdings, layout: str) -> DataConfig:
    """Return the configuration that says no more than what the data are, with protocols of the splits found."""
    flat = is_flat(found)
    pairs = found.pairs or [(name, name) for name in list(found.splits)[:1]] or [("none", "none")]
    high = max(found.labels.values(), default=1)
    classes = found.classes or tuple(
        f"class {number}" for number in range(max(high + (0 if _from_one(found) else 1), 2))
    )
    return DataConfig.model_validate(
        {
            "layout": layout,
            "classes": classes,
            "dimensions": "2d+score" if flat and found.form and found.form[1] == 2 else "3d",
            "normalisation": "none",
            "protocols": {f"p{number}": {"train": pair[0], "test": pair[1]} for number, pair in enumerate(pairs)},
            "protocol": "p0",
        }
    )


def _from_one(found: Holdings) -> bool:
    return not found.classes and min(found.labels.values(), default=0) == 1


def doubts(found: Holdings, layout: str) -> list[Doubt]:
    """Return what is doubtful about data, as far as it shows without a configuration."""
    config = assumed(found, layout)
    survey = Survey(Counter(found.labels.values()), set(found.labels), found.labels, {}, found.glimpses)
    splits = {**dict.fromkeys((s for p in config.protocols.values() for s in (p.train, p.test)), ()), **found.splits}
    named = survey.doubts(config, splits, {})
    # Without a list of classes, those without a sample are the ones between the labels.
    return named if len(set(found.labels.values())) > 1 else [one for one in named if not one.code.startswith("class-")]
