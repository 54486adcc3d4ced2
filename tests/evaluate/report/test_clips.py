"""What the page plays: right coordinates, small, and lit and ringed where it should be."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from made_runs import experiment, make_run, write_dataset

from components.contracts import dataset
from components.contracts.skeleton import load_layout
from components.evaluate.inputs import open_inputs
from components.evaluate.measures.summary import headline_of, summarise
from components.evaluate.report.clips import MOST_FRAMES, clip
from components.evaluate.report.examples import Example, confused_examples
from components.evaluate.report.figures import strip
from components.runtime import drawing


def packed_of(folder: Path, points: np.ndarray) -> dataset.Dataset:
    made = experiment(data__max_persons=2)
    with dataset.Writer(folder, made.data, made_from={}) as writer:
        writer.append("one", 0, points)
        writer.splits({"train": ["one"], "test": ["one"]})
    return dataset.open(folder)


def decoded(document: str) -> tuple[dict, np.ndarray]:
    found = json.loads(document)
    values = np.frombuffer(base64.b64decode(found["data"]), dtype=np.uint8)
    return found, values.reshape(found["frames"], found["persons"], found["joints"], 2)


def test_coordinates_keep_their_proportions_and_up_is_up(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(1, 10, 25, 3))
    points[..., 2] += np.linspace(0, 1, 25)
    layout = packed_of(tmp_path / "d", points).layout
    lower, upper = (layout.number(name) for name in layout.upright)
    points[:, :, upper, 1] = points[:, :, lower, 1] + 9  # up is the second axis
    points[0, 3] = 0  # nobody was seen
    points[0, 4, 7] = 0  # a joint was lost
    packed = packed_of(tmp_path / "e", points)
    found, pixels = decoded(clip(packed, Example(0, "a", "", (4, 5), None)).document)
    assert found["evidence"] is None and found["critical"] == [4, 5]
    assert (pixels[3] == 255).all() and (pixels[4, 0, 7] == 255).all()
    seen = pixels[[0, 1, 2, 5, 6, 7, 8, 9], 0].astype(float)
    truth = points[0, [0, 1, 2, 5, 6, 7, 8, 9], :, 1]
    assert np.corrcoef(seen[..., 1].ravel(), truth.ravel())[0, 1] < -0.999  # y grows downwards on a screen
    assert (seen[:, lower, 1] > seen[:, upper, 1]).all()


def test_who_is_bent_all_the_time_does_not_seem_to_stand() -> None:
    """Which way is up follows from the whole dataset, not from one sample whose trunk is level."""
    layout = load_layout("ntu25")
    lower, upper = (layout.number(name) for name in layout.upright)
    points = np.random.default_rng(0).normal(size=(1, 10, 25, 3), scale=0.01) + 1
    points[:, :, upper, 2] += 1  # the trunk points forwards
    points[:, :, layout.number("left_foot"), 1] -= 1
    seen = drawing.front_view(points, drawing.present(points, layout), layout, np.asarray([0.1, 0.9, 0.2]))
    assert np.allclose(seen[..., 1], points[..., 1])
    assert np.allclose(seen[:, :, [lower, upper], 0], points[:, :, [lower, upper], 2])


def test_twelve_long_clips_of_two_persons_stay_below_two_megabytes(tmp_path: Path) -> None:
    packed = packed_of(tmp_path / "d", np.random.default_rng(0).normal(size=(2, 300, 25, 3)))
    made = clip(packed, Example(0, "a", "", (4, 5), np.ones(25)))
    found, _ = decoded(made.document)
    assert (made.step, found["frames"]) == (3, 100)
    assert found["frames"] <= MOST_FRAMES
    assert 12 * len(made.document) < 2_000_000


def test_lit_where_the_network_looked_ringed_where_the_guidance_says(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", experiment())
    stage, scores, confusions, constraints, _ = run.arguments(tmp_path)
    inputs = open_inputs(stage, scores, confusions, constraints, write_dataset(tmp_path / "d", run))
    metrics, headline = summarise(stage, inputs), headline_of(stage, inputs)
    assert inputs.dataset is not None
    for mistaken, recognised in confused_examples(inputs, headline, metrics):
        assert mistaken.evidence is None and mistaken.name != recognised.name
    evidence = np.zeros((4, 25), dtype=np.float32)
    evidence[:, 9], evidence[:, 3] = 8.0, 2.0
    looked = {key: replace(one, evidence=evidence) for key, one in inputs.confusions.items()}
    pairs = confused_examples(replace(inputs, confusions=looked), headline, metrics)  # type: ignore[arg-type]
    assert 0 < len(pairs) <= 6
    for one in pairs[0]:
        shown = strip(inputs.dataset, one)
        assert shown.looked == (inputs.dataset.layout.joints[9].replace("_", " "),)
        found, _ = decoded(shown.clip.document)
        assert (found["evidence"][9], found["evidence"][3]) == (1.0, 0.25)
        assert found["critical"] == sorted(one.critical)
        assert {dot.ringed for panel in shown.panels for body in panel.bodies for dot in body.dots} == {True, False}
