"""Whole rounds, offline."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agent_helpers import NW_UCLA, Scene

from components.agent.core import run_round
from components.agent.offline.priors import load_priors
from components.agent.offline.provider import NO_PRIOR
from components.agent.round import Round
from components.contracts import constraints
from components.contracts.artifact import digest
from components.contracts.config import AgentStage
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout

KINECT = load_layout("kinect20")
MISTAKES = {("throw", "drop trash"): 7, ("sit down", "stand up"): 3, ("stand up", "sit down"): 2}


def prior_round(stage: AgentStage, path: Path) -> constraints.Constraints:
    run_round(Round(stage), path)
    return constraints.open(path)


def later_round(
    scene: Scene, stage: AgentStage, mistakes: dict[tuple[str, str], int], **more: Any
) -> constraints.Constraints:
    run_round(Round(stage), scene.root / "c0")
    confusion = scene.confusion(stage, mistakes, **more)
    run_round(Round(stage, "j", 1, confusion, scene.root / "c0"), scene.root / "c1")
    return constraints.open(scene.root / "c1")


class TestRoundZero:
    def test_priors_become_constraints(self, scene: Scene) -> None:
        found = prior_round(scene.stage(), scene.root / "c0")
        assert [c.name for c in found.classes] == list(NW_UCLA)
        assert (found.layout, found.round, found.stream) == ("kinect20", 0, "")
        assert found.text.shape == (10, 384)
        for constraint in found.classes:
            prior = load_priors("nw_ucla").find(constraint.name, KINECT)
            assert prior is not None
            assert constraint.description == prior.description
            assert {KINECT.joints[j] for j in constraint.joints} == set(prior.joints)
            assert constraint.provenance.status == "prior"

    def test_manifest_names_the_priors(self, scene: Scene) -> None:
        prior_round(scene.stage(), scene.root / "c0")
        assert constraints.verify(scene.root / "c0").made_from == {"priors": load_priors("nw_ucla").sha256}

    def test_same_input_same_bytes(self, scene: Scene) -> None:
        for name in ("a", "b"):
            run_round(Round(scene.stage()), scene.root / name)
        assert digest(scene.root / "a") == digest(scene.root / "b")

    def test_most_telling_joints_stay_within_max_joints(self, scene: Scene) -> None:
        found = prior_round(scene.stage(max_joints=3), scene.root / "c0")
        throw = found.classes[8]
        assert {KINECT.joints[j] for j in throw.joints} == {"right_hand", "right_wrist", "right_elbow"}

    def test_takes_no_confusion(self, scene: Scene) -> None:
        with pytest.raises(InputError, match="round 0 takes neither"):
            run_round(Round(scene.stage(), confusion=scene.root), scene.root / "c0")


class TestUnknownDataset:
    """A dataset nobody wrote priors for goes through, and the agent says so."""

    @pytest.fixture
    def stage(self, scene: Scene) -> AgentStage:
        return scene.stage(classes=("juggle", "sit down", "cartwheel"))

    def test_class_name_and_all_joints_with_a_warning(
        self, scene: Scene, stage: AgentStage, log_lines: list[logging.LogRecord]
    ) -> None:
        found = prior_round(stage, scene.root / "c0")
        assert [c.provenance.status for c in found.classes] == ["no-prior", "prior", "no-prior"]
        assert found.classes[0].description == "juggle"
        assert found.classes[0].joints == tuple(range(20))
        assert found.classes[0].provenance.note == NO_PRIOR
        warnings = [record.getMessage() for record in log_lines if record.levelno == logging.WARNING]
        assert warnings == ["no written prior for 2 of 3 classes, all joints used: juggle, cartwheel"]

    def test_no_priors_at_all(self, scene: Scene) -> None:
        found = prior_round(scene.stage(priors=None), scene.root / "c0")
        assert {c.provenance.status for c in found.classes} == {"no-prior"}
        assert constraints.verify(scene.root / "c0").made_from == {}

    def test_later_rounds_keep_and_still_say_so(self, scene: Scene, stage: AgentStage) -> None:
        found = later_round(scene, stage, {("juggle", "cartwheel"): 5, ("sit down", "juggle"): 1})
        assert [c.provenance.status for c in found.classes] == ["kept"] * 3
        assert all(NO_PRIOR in found.classes[k].provenance.note for k in (0, 2))
        assert "no written prior to contrast" in found.classes[1].provenance.note


class TestLaterRounds:
    def test_guidance_follows_the_confusion(self, scene: Scene) -> None:
        found = later_round(scene, scene.stage(), MISTAKES)
        status = {c.name: c.provenance.status for c in found.classes}
        assert {name for name, s in status.items() if s == "answered"} == {
            "throw",
            "drop trash",
            "sit down",
            "stand up",
        }
        throw = found.classes[NW_UCLA.index("throw")]
        assert throw.told_apart_from == (NW_UCLA.index("drop trash"),)
        assert throw.description.startswith(load_priors("nw_ucla").find("throw", KINECT).description)  # type: ignore[union-attr]
        assert throw.description.endswith("Unlike 'drop trash', it shows in the right shoulder and left shoulder.")
        kept = found.classes[NW_UCLA.index("carry")]
        assert kept.provenance.note == "not asked: no confusion above the thresholds"

    def test_joints_narrow_to_what_tells_apart(self, scene: Scene) -> None:
        found = later_round(scene, scene.stage(), {("walk around", "carry"): 9})
        walk = found.classes[NW_UCLA.index("walk around")]
        prior = load_priors("nw_ucla").find("walk around", KINECT)
        carry = load_priors("nw_ucla").find("carry", KINECT)
        assert prior is not None and carry is not None
        distinctive = set(prior.joints) - set(carry.joints)
        assert len(distinctive) >= 3
        assert {KINECT.joints[j] for j in walk.joints} == distinctive

    def test_text_follows_the_description(self, scene: Scene) -> None:
        found = later_round(scene, scene.stage(), MISTAKES)
        before = constraints.open(scene.root / "c0")
        changed = [a.description != b.description for a, b in zip(found.classes, before.classes, strict=True)]
        assert changed == (found.text != before.text).any(axis=1).tolist()
        assert sum(changed) == 4

    def test_same_confusion_again_asks_nobody_and_loses_nothing(self, scene: Scene) -> None:
        stage = scene.stage()
        first = later_round(scene, stage, MISTAKES)
        confusion = scene.confusion(stage, MISTAKES, round_number=2)
        run_round(Round(stage, "j", 2, confusion, scene.root / "c1"), scene.root / "c2")
        second = constraints.open(scene.root / "c2")
        assert {c.provenance.status for c in second.classes} == {"kept"}
        for now, before in zip(second.classes, first.classes, strict=True):
            assert (now.description, now.joints, now.told_apart_from) == (
                before.description,
                before.joints,
                before.told_apart_from,
            )
            assert now.provenance.round == before.provenance.round
        assert (second.text == first.text).all()

    def test_validation_counts_change_nothing(self, scene: Scene) -> None:
        """The Questioner must never see the test split."""
        stage = scene.stage()
        with_validation = later_round(scene, stage, MISTAKES, validation=99)
        without = later_round(scene, stage, MISTAKES, validation=0)
        assert with_validation.classes == without.classes

    def test_made_from_names_its_inputs_and_bytes_repeat(self, scene: Scene) -> None:
        stage = scene.stage()
        found = later_round(scene, stage, MISTAKES)
        confusion = scene.confusion(stage, MISTAKES)
        run_round(Round(stage, "j", 1, confusion, scene.root / "c0"), scene.root / "again")
        assert digest(scene.root / "again") == found.digest
        assert constraints.verify(scene.root / "c1").made_from == {
            "priors": load_priors("nw_ucla").sha256,
            "confusion": digest(confusion),
            "previous": digest(scene.root / "c0"),
        }


class TestFixedJoints:
    def test_joints_of_round_zero_stay_and_descriptions_follow_the_confusion(self, scene: Scene) -> None:
        moving = later_round(scene, scene.stage(), {("walk around", "carry"): 9})
        before = constraints.open(scene.root / "c0")
        fixed = later_round(scene, scene.stage(joints="fixed"), {("walk around", "carry"): 9})
        assert (fixed.joint_mask() == before.joint_mask()).all()
        assert (moving.joint_mask() != before.joint_mask()).any()
        assert (fixed.text == moving.text).all()
        assert (fixed.text != before.text).any()


class TestSoftWeights:
    def test_a_joint_weighs_what_prior_and_answers_agree_on(self, scene: Scene) -> None:
        soft = later_round(scene, scene.stage(joint_weights="agreement"), {("walk around", "carry"): 9})
        before = constraints.open(scene.root / "c0")
        binary = later_round(scene, scene.stage(), {("walk around", "carry"): 9})
        asked = soft.classes[3]
        assert asked.votes == 2
        agreed = {joint for joint, weight in zip(asked.joints, asked.weights, strict=True) if weight == 1}
        assert agreed == set(before.classes[3].joints) & set(binary.classes[3].joints)
        assert {0.5, 1.0} == set(asked.weights)
        assert soft.classes[0] == binary.classes[0]  # not confused, not asked
        assert (soft.joint_weights() < soft.joint_mask()).any()


class TestContradictions:
    @pytest.fixture
    def before(self, scene: Scene) -> Path:
        run_round(Round(scene.stage()), scene.root / "c0")
        return scene.root / "c0"

    def refused(self, scene: Scene, stage: AgentStage, message: str, **arguments: Any) -> None:
        with pytest.raises(InputError, match=message):
            run_round(Round(stage, **{"stream": "j", "number": 1, **arguments}), scene.root / "out")
        assert not (scene.root / "out").exists()

    def test_each_has_its_line(self, scene: Scene, before: Path) -> None:
        stage = scene.stage()
        confusion = scene.confusion(stage, MISTAKES)
        both = {"confusion": confusion, "previous": before}
        self.refused(scene, stage, "round 1 needs the previous artifact", confusion=confusion)
        self.refused(scene, stage, "round 1 needs the confusion artifact", previous=before)
        self.refused(scene, stage, "stream: found 'j', expected 'b'", stream="b", **both)
        self.refused(scene, stage, "confusion.*: round: found 1, expected 2", number=2, **both)
        fewer = scene.stage(classes=NW_UCLA[:9])
        self.refused(scene, fewer, "classes: found 10, expected 9", **both)
        self.refused(
            scene, fewer, "c0: classes: found 10, expected 9", previous=before, confusion=scene.confusion(fewer, {})
        )
        other = scene.stage(layout="ntu25")
        self.refused(scene, other, "layout: found 'kinect20', expected 'ntu25'", **both)
        renamed = scene.stage(classes=("nap", *NW_UCLA[1:]))
        self.refused(scene, renamed, "class 0: found 'pick up with one hand', expected 'nap'", **both)

    def test_damaged_input_is_refused(self, scene: Scene, before: Path) -> None:
        stage = scene.stage()
        np.save(before / "text.npy", np.zeros((10, 384), dtype=np.float32))
        self.refused(scene, stage, "damaged", confusion=scene.confusion(stage, {}), previous=before)
