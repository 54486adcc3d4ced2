"""Guidance where nobody has said anything: the joints that the training data tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agent_helpers import Endpoint, Scene, completion, good
from hypothesis import given, settings
from hypothesis import strategies as st

from components.agent.core import plan_of_round, run_round
from components.agent.offline.measured import joints_of, overlap, separating
from components.agent.offline.provider import NO_PRIOR
from components.agent.round import Round
from components.contracts import constraints
from components.contracts.artifact import digest
from components.contracts.config import AgentStage
from components.contracts.confusion import Confusion
from components.contracts.constraints import ClassConstraint, Constraints
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout

KINECT = load_layout("kinect20")
CLASSES = ("zorb", "flimp", "sit down", "quax")
TELLS = {
    "zorb": ("right_hand", "right_wrist"),
    "flimp": ("left_knee", "left_ankle", "left_foot", "left_hip"),
    "quax": ("head",),
}
MISTAKES = {("zorb", "flimp"): 9, ("flimp", "quax"): 4}


def seen(rows: Any, *, activity: Any = None, samples: int = 500) -> Confusion:
    rows = np.asarray(rows, dtype=np.float32)
    counts = np.eye(len(rows), dtype=np.int64) * samples
    moving = None if activity is None else np.asarray(activity, dtype=np.float32)
    pairs = np.array([[0, 1]])
    return Confusion("j", 1, counts, counts, rows, rows, pairs, rows[:1], moving)


def rounds(scene: Scene, stage: AgentStage, *tells: dict[str, tuple[str, ...]] | None) -> list[Constraints]:
    """The constraints of round 0 and of one more for each artifact; the confusions stay the same."""
    run_round(Round(stage), scene.root / "c0")
    for number, one in enumerate(tells, start=1):
        confusion = scene.confusion(stage, MISTAKES, tells=one, round_number=number)
        what = Round(stage, "j", number, confusion, scene.root / f"c{number - 1}")
        run_round(what, scene.root / f"c{number}")
    return [constraints.open(scene.root / f"c{number}") for number in range(len(tells) + 1)]


def names(constraint: ClassConstraint) -> set[str]:
    return {KINECT.joints[joint] for joint in constraint.joints}


class TestJoints:
    def test_those_near_the_best(self) -> None:
        assert joints_of(seen([[0.9, 0.1, 0.8, 0.85, 0.75, 0.3, 0.3, 0.3]]), 0, 12) == [0, 3, 2, 4]

    def test_one_that_stands_alone_is_taken_alone_and_up_to_three_that_are_half_as_good(self) -> None:
        assert joints_of(seen([[0.9, 0.4, 0.3, 0.1, 0.1, 0.1]]), 0, 12) == [0]
        assert joints_of(seen([[0.9, 0.6, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1]]), 0, 12) == [0, 1, 2]

    def test_of_two_that_are_told_apart_by_the_same_each_has_the_one_that_moves(self) -> None:
        found = seen([[0.8, 0.8, 0.1], [0.8, 0.8, 0.1]], activity=[[0.9, 0.2, 0.5], [0.2, 0.9, 0.5]])
        assert [joints_of(found, label, 12) for label in (0, 1)] == [[0], [1]]

    def test_chance_is_no_reason(self) -> None:
        rows = [[0.2, 0.1, 0.15, 0.0]]
        assert joints_of(seen(rows, samples=10), 0, 12) == []
        assert joints_of(seen(rows, samples=1000), 0, 12) == [0, 2]

    def test_only_confused_pairs_are_measured(self) -> None:
        found = seen([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
        assert separating(found, 0, 1) == separating(found, 1, 0) == [0]
        assert separating(found, 1, 2) == []

    def test_agreement_is_the_share_of_the_named_among_as_many_best(self) -> None:
        found = seen([[0.9, 0.8, 0.1, 0.0]])
        assert [overlap(named, found, 0) for named in ([0, 1], [0, 3], [2], [0, 1, 3])] == [1, 0.5, 0, 0.6667]
        assert overlap([0], seen([[0.0, 0.0]]), 0) is None

    @given(
        rows=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=25),
        most=st.integers(1, 30),
        samples=st.integers(0, 10**6),
    )
    @settings(max_examples=150, deadline=None)
    def test_whatever_is_measured_they_are_few(self, rows: list[float], most: int, samples: int) -> None:
        found = joints_of(seen([rows], samples=samples), 0, most)
        assert len(set(found)) == len(found) <= min(most, max(len(rows) // 2, 1))
        assert all(rows[joint] > 0 for joint in found)


class TestRounds:
    def test_who_has_a_prior_keeps_it_and_the_others_are_measured(self, scene: Scene) -> None:
        _, told = rounds(scene, scene.stage(classes=CLASSES), TELLS)
        zorb, flimp, sit, quax = told.classes
        assert [one.provenance.status for one in told.classes] == ["data", "data", "kept", "data"]
        assert (names(zorb), names(flimp), names(quax)) == (set(TELLS["zorb"]), set(TELLS["flimp"]), {"head"})
        assert sit.provenance.provider == "offline"
        assert (
            zorb.description == "zorb; measured: it is told from 'flimp' by the right hand, left knee and right wrist."
        )
        assert zorb.told_apart_from == (1,) and flimp.told_apart_from == (0, 3)
        assert (zorb.provenance.provider, zorb.provenance.prompt_version) == ("data", "data-1")

    def test_a_class_that_is_never_confused_has_joints_too(self, scene: Scene) -> None:
        stage = scene.stage(classes=("zorb", "flimp", "quax", "never"), priors=None)
        _, told = rounds(scene, stage, {**TELLS, "never": ("spine", "pelvis")})
        never = told.classes[3]
        assert names(never) == {"spine", "pelvis"} and never.told_apart_from == ()
        assert never.description == (
            "never; measured: it is told from the classes nearest to it by the spine and pelvis."
        )

    def test_the_plan_says_whom_and_why_and_that_nobody_is_asked(self, scene: Scene) -> None:
        stage = scene.stage(classes=CLASSES, priors=None)
        run_round(Round(stage), scene.root / "c0")
        confusion = scene.confusion(stage, MISTAKES, tells=TELLS)
        plan = plan_of_round(Round(stage, "j", 1, confusion, scene.root / "c0"))
        assert plan.order == () and not any(one.asked for one in plan.classes)
        assert [one.measured for one in plan.classes] == [True, True, False, True]
        assert plan.classes[0].reason == (
            "confused with flimp (9); nobody to ask: no LLM and no written prior; joints measured from the data"
        )
        assert plan.classes[2].reason == "no confusion above the thresholds"

    def test_what_no_joint_separates_stays_without_and_says_so(self, scene: Scene) -> None:
        zero, told = rounds(scene, scene.stage(classes=CLASSES, priors=None), TELLS)
        sit = told.classes[2]
        assert zero.plan is not None
        assert {one.reason for one in zero.plan.classes} == {"nobody to ask: no LLM and no written prior"}
        assert sit.joints == tuple(range(20)) and sit.provenance.status == "kept"
        assert "no joint separates it in the training data beyond chance" in sit.provenance.note
        assert NO_PRIOR in sit.provenance.note

    def test_nothing_measured_nothing_changes(self, scene: Scene) -> None:
        _, told = rounds(scene, scene.stage(classes=CLASSES, priors=None), None)
        assert {(one.provenance.status, len(one.joints)) for one in told.classes} == {("kept", 20)}
        assert told.plan is not None and told.plan.order == ()

    def test_the_same_input_gives_the_same_bytes(self, scene: Scene) -> None:
        stage = scene.stage(classes=CLASSES, priors=None)
        rounds(scene, stage, TELLS)
        again = scene.confusion(stage, MISTAKES, tells=TELLS)
        run_round(Round(stage, "j", 1, again, scene.root / "c0"), scene.root / "again")
        assert digest(scene.root / "again") == digest(scene.root / "c1")

    def test_the_same_confusions_again_are_not_measured_again(self, scene: Scene) -> None:
        other = {"zorb": ("spine", "head")}
        _, first, second = rounds(scene, scene.stage(classes=CLASSES, priors=None), TELLS, other)
        assert second.classes[0].joints == first.classes[0].joints
        assert second.classes[0].provenance.status == "kept"

    @pytest.mark.parametrize(("joints", "expected"), [("moving", {"spine", "head"}), ("fixed", set(TELLS["zorb"]))])
    def test_new_confusions_are_measured_anew_unless_joints_are_fixed(
        self, scene: Scene, joints: str, expected: set[str]
    ) -> None:
        stage = scene.stage(classes=CLASSES, priors=None, material_change=0, joints=joints)
        rounds(scene, stage, TELLS)
        again = scene.confusion(stage, {("zorb", "quax"): 9}, tells={"zorb": ("spine", "head")}, round_number=2)
        run_round(Round(stage, "j", 2, again, scene.root / "c1"), scene.root / "c2")
        zorb = constraints.open(scene.root / "c2").classes[0]
        assert (zorb.provenance.status, zorb.told_apart_from, names(zorb)) == ("data", (3,), expected)

    def test_a_measurement_of_another_skeleton_is_refused(self, scene: Scene) -> None:
        stage = scene.stage(classes=CLASSES)
        run_round(Round(stage), scene.root / "c0")
        wrong = scene.confusion(scene.stage(classes=CLASSES, layout="ntu25"), MISTAKES, tells=TELLS)
        with pytest.raises(InputError, match="found"):
            run_round(Round(stage, "j", 1, wrong, scene.root / "c0"), scene.root / "c1")


class TestWithAnLLM:
    @pytest.fixture
    def stage(self, scene: Scene, endpoint: Endpoint) -> AgentStage:
        return scene.stage(classes=CLASSES, priors=None, provider="openai", base_url=endpoint.url, material_change=0)

    def test_no_usable_answer_no_prior_then_the_data(self, scene: Scene, stage: AgentStage, endpoint: Endpoint) -> None:
        endpoint.default = completion("Well.")
        _, told = rounds(scene, stage, TELLS)
        zorb = told.classes[0]
        assert (zorb.provenance.status, names(zorb)) == ("data", set(TELLS["zorb"]))
        assert "no usable answer after 2 repair turns" in zorb.provenance.note
        assert zorb.provenance.note.endswith("joints measured from the data")
        assert zorb.provenance.prompt_tokens == 300, "what the unusable answers cost is counted"
        assert zorb.provenance.agreement is None

    def test_an_unusable_answer_keeps_what_was_answered_before(
        self, scene: Scene, stage: AgentStage, endpoint: Endpoint
    ) -> None:
        endpoint.script["zorb"] = [good(joints=("spine",)), completion("Well.")]
        _, told = rounds(scene, stage, TELLS)
        assert (told.classes[0].provenance.status, names(told.classes[0])) == ("kept", {"spine"})

    def test_an_answer_comes_before_the_data_and_is_compared_with_it(
        self, scene: Scene, stage: AgentStage, endpoint: Endpoint
    ) -> None:
        endpoint.script["zorb"] = [good(joints=("right_hand", "spine"))]
        _, told = rounds(scene, stage, TELLS)
        zorb = told.classes[0]
        assert (zorb.provenance.status, names(zorb)) == ("answered", {"right_hand", "spine"})
        assert zorb.provenance.agreement == 0.5

    def test_is_told_where_the_network_looks_and_what_separates(
        self, scene: Scene, stage: AgentStage, endpoint: Endpoint, tmp_path: Path
    ) -> None:
        rounds(scene, stage, TELLS)
        asked = endpoint.asked("zorb")[-1]["messages"][1]["content"]
        assert 'The network recognises "zorb" mostly by: right_hand, right_wrist.' in asked
        assert (
            "The network recognises it mostly by: left_knee, left_ankle, left_foot. "
            "In the data the two differ most in: right_hand, left_knee, right_wrist.\n"
        ) in asked

    def test_is_told_the_confusions_only_if_asked_to(self, scene: Scene, stage: AgentStage, endpoint: Endpoint) -> None:
        quiet = stage.model_copy(update={"agent": stage.agent.model_copy(update={"tell": "confusions"})})
        rounds(scene, quiet, TELLS)
        asked = endpoint.asked("zorb")[-1]["messages"][1]["content"]
        assert "recognises" not in asked and "differ most" not in asked and '- "flimp"' in asked
