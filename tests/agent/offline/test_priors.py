"""The written priors: complete, in the layout, and telling."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from components.agent.core import run_round
from components.agent.offline.priors import Priors, load_priors, prior_names
from components.agent.offline.template import template
from components.agent.round import Round
from components.contracts import constraints
from components.contracts.config import AgentStage, load_experiment, parse_section
from components.contracts.errors import InputError
from components.contracts.priors import Prior
from components.contracts.skeleton import load_layout

SBU = (
    "approaching", "departing", "kicking", "pushing", "shaking hands", "hugging", "exchanging object", "punching",
)  # fmt: skip

LISTS = {
    "ntu60": ("nturgbd_60", "ntu25"),
    "ntu120": ("nturgbd_120", "ntu25"),
    "uav": ("uav_human", "uav17"),
    "finegym": ("finegym", "coco20"),
    "k400": ("k400", "coco20"),
}
"""Per file of priors the published class list that it covers, and the list's layout."""

LOOK_ALIKES = {
    "ntu60": (
        ("reading", "writing"),
        ("wear a shoe", "take off a shoe"),
        ("wear jacket", "take off jacket"),
        ("wear on glasses", "take off glasses"),
        ("put on a hat/cap", "take off a hat/cap"),
        ("sitting down", "standing up (from sitting position)"),
        ("drink water", "eat meal/snack"),
        ("clapping", "rub two hands together"),
        ("walking towards each other", "walking apart from each other"),
    ),
    "ntu120": (
        ("put on headphone", "take off headphone"),
        ("put on bag", "take off bag"),
        ("put something into a bag", "take something out of a bag"),
        ("thumb up", "thumb down"),
        ("make ok sign", "make victory sign"),
        ("arm circles", "arm swings"),
        ("running on the spot", "butt kicks (kick backward)"),
        ("cutting nails", "cutting paper (using scissors)"),
        ("apply cream on face", "apply cream on hand back"),
        ("giving something to other person", "exchange things with other person"),
        ("put the palms together", "clapping"),
        ("kicking something", "side kick"),
    ),
    "uav": (
        ("read", "write"),
        ("put on a coat", "take off a coat"),
        ("put on glasses", "take off glasses"),
        ("put on a hat", "take off a hat"),
        ("take off a hat", "throw away a hat"),
        ("wear headphones", "take off headphones"),
        ("wear a mask", "take off a mask"),
        ("thumb up", "thumb down"),
        ("make an OK sign", "make a victory sign"),
        ("put something into a bag", "take something out of a bag"),
        ("jump on single leg", "jump on two legs"),
        ("kick aside", "kick backward"),
        ("walk toward someone", "walk away from someone"),
        ("cough", "sneeze"),
        ("sit down", "stand up"),
        ("walk", "run"),
        ("move forward", "move backward"),
        ("accelerate", "decelerate"),
        ("open an umbrella", "close an umbrella"),
        ("sweep the floor", "mop the floor"),
        ("steal something from other's pocket", "rob something from someone"),
        ("move left", "move right"),
        ("turn left", "turn right"),
        ("rear left turn", "rear right turn"),
    ),
    "finegym": (
        ("(FX) salto backward stretched with 3 twist", "(FX) salto backward stretched with 2 twist"),
        ("(FX) salto backward stretched with 2.5 twist", "(FX) salto backward stretched with 1.5 twist"),
        ("(FX) salto forward stretched with 2 twist", "(FX) salto forward stretched with 1 twist"),
        ("(FX) double salto backward tucked", "(FX) double salto backward piked"),
        ("(FX) double salto backward tucked with 1 twist", "(FX) double salto backward tucked with 2 twist"),
        ("(FX) split leap with 1 turn", "(FX) switch leap with 1 turn"),
        ("(FX) split jump with 1 turn", "(FX) straddle pike or side split jump with 1 turn"),
        (
            "(FX) 2 turn on one leg, free leg optional below horizontal",
            "(FX) 3 turn on one leg, free leg optional below horizontal",
        ),
        ("(BB) salto backward tucked", "(BB) salto backward tucked (dismount)"),
        ("(BB) salto backward stretched with 2 twist", "(BB) salto backward stretched with 2.5 twist"),
        ("(BB) flic-flac to land on both feet", "(BB) flic-flac with step-out, also with support on one arm"),
        ("(UB) giant circle backward", "(UB) giant circle forward"),
        (
            "(UB) giant circle backward with 0.5 turn to handstand",
            "(UB) giant circle backward with 1 turn to handstand",
        ),
        ("(UB) counter straddle over high bar to hang", "(UB) counter piked over high bar to hang"),
        ("(UB) transition flight from high bar to low bar", "(UB) transition flight from low bar to high bar"),
    ),
    "k400": (
        ("reading book", "reading newspaper"),
        ("passing American football (in game)", "passing American football (not in game)"),
        ("golf chipping", "golf driving"),
        ("golf chipping", "golf putting"),
        ("waxing back", "waxing chest"),
        ("swimming backstroke", "swimming breast stroke"),
        ("swimming breast stroke", "swimming butterfly stroke"),
        ("jogging", "running on treadmill"),
        ("long jump", "triple jump"),
        ("clean and jerk", "deadlifting"),
        ("drinking", "drinking shots"),
        ("eating burger", "eating hotdog"),
        ("eating cake", "eating chips"),
        ("playing clarinet", "playing recorder"),
        ("playing clarinet", "playing saxophone"),
        ("playing guitar", "playing bass guitar"),
        ("playing violin", "playing cello"),
        ("playing piano", "playing organ"),
        ("playing poker", "playing chess"),
        ("shooting basketball", "dribbling basketball"),
        ("tying tie", "tying bow tie"),
        ("wrapping present", "opening present"),
        ("clapping", "applauding"),
        ("massaging feet", "massaging legs"),
        ("skiing slalom", "skiing crosscountry"),
        ("sweeping floor", "mopping floor"),
        ("washing hair", "washing hands"),
        ("catching or throwing baseball", "catching or throwing frisbee"),
    ),
}
"""Pairs that differ in direction, order or place only: their joints must differ, not just their sentences."""


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def published_classes(golden_dir: Path, name: str) -> list[str]:
    """The class list as published; where a name stands twice (FineGYM), the second is the dismount."""
    path = golden_dir.parent / "reference" / "class_names" / f"{LISTS[name][0]}.txt"
    names: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        names.append(f"{line} (dismount)" if line in names else line)
    return names


@pytest.mark.parametrize("name", LISTS)
class TestPublishedLists:
    def test_every_class_is_covered_and_no_other(self, name: str, golden_dir: Path) -> None:
        expected = published_classes(golden_dir, name)
        priors = load_priors(name)
        assert {prior.name for prior in (priors.by_name or {}).values()} == set(expected)
        found = [priors.find(one, load_layout(LISTS[name][1])) for one in expected]
        assert None not in found
        assert len({prior.description for prior in found if prior}) == len(expected)

    def test_look_alikes_have_other_joints(self, name: str) -> None:
        layout = load_layout(LISTS[name][1])
        for pair in LOOK_ALIKES[name]:
            one, other = (load_priors(name).find(which, layout) for which in pair)
            assert one is not None and other is not None, pair
            assert set(one.joints) != set(other.joints), pair


@pytest.mark.parametrize("name", prior_names())
class TestEveryFile:
    def test_classes_of_the_same_joints_have_sentences_of_their_own(self, name: str) -> None:
        """No two classes share their joints and more than half of all words of their sentences."""
        for one, other in combinations((load_priors(name).by_name or {}).values(), 2):
            if set(one.joints) == set(other.joints):
                mine, theirs = words(one.description), words(other.description)
                assert len(mine & theirs) <= len(mine | theirs) / 2, (one.name, other.name)

    def test_joints_exist_and_are_a_choice(self, name: str) -> None:
        priors = load_priors(name)
        layout = load_layout(priors.layout)
        assert priors.by_name
        for prior in priors.by_name.values():
            assert set(prior.joints) <= set(layout.joints), prior.name
            assert len(set(prior.joints)) == len(prior.joints), prior.name
            assert 3 <= len(prior.joints) <= 12 < len(layout.joints), prior.name

    def test_descriptions_are_sentences_and_differ(self, name: str) -> None:
        descriptions = [prior.description for prior in (load_priors(name).by_name or {}).values()]
        assert len(set(descriptions)) == len(descriptions)
        assert all(text.endswith(".") and 60 <= len(text) <= 300 for text in descriptions)

    def test_left_and_right_come_together_unless_named(self, name: str) -> None:
        """Subjects use either hand, except that they shake hands with the right one."""
        for prior in (load_priors(name).by_name or {}).values():
            if "left" in prior.name or "right" in prior.name or "shak" in prior.name:
                continue
            swapped = {j.replace("left", "?").replace("right", "left").replace("?", "right") for j in prior.joints}
            assert swapped == set(prior.joints), prior.name


def test_every_class_of_the_benchmarks_is_covered(repository: Path) -> None:
    from_config = {path.stem: load_experiment(path) for path in (repository / "pipelines" / "configs").glob("*.yaml")}
    assert "demo" in from_config
    for name, experiment in from_config.items():
        if experiment.agent.priors is None:
            continue
        priors, layout = load_priors(experiment.agent.priors), load_layout(experiment.data.layout)
        missing = [c for c in experiment.data.classes if priors.find(c, layout) is None]
        assert not missing, name


def test_sbu_and_nw_ucla_are_covered() -> None:
    assert all(load_priors("sbu").find(name, load_layout("sbu15")) for name in SBU)
    assert len(load_priors("nw_ucla").by_name or {}) == 10


def test_an_included_file_counts_and_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    classes = "- {name: hop, description: Up., joints: [head]}\n"
    (tmp_path / "base.yaml").write_text(f"layout: ntu25\nclasses:\n{classes}")
    (tmp_path / "more.yaml").write_text(f"layout: ntu25\ninclude: base\nclasses:\n{classes.replace('hop', 'sit')}")
    monkeypatch.setattr("components.agent.offline.priors._FOLDER", tmp_path)
    load_priors.cache_clear()
    before = load_priors("more")
    assert set(before.by_name or {}) == {"hop", "sit"}
    (tmp_path / "base.yaml").write_text(f"layout: ntu25\nclasses:\n{classes.replace('Up', 'Down')}")
    load_priors.cache_clear()
    assert load_priors("more").sha256 != before.sha256
    load_priors.cache_clear()


def test_class_names_match_whatever_case_and_spacing() -> None:
    prior = load_priors("nw_ucla").find("  Sit  Down ", load_layout("kinect20"))
    assert prior is not None
    assert prior.name == "sit down"


def test_joints_that_a_layout_lacks_are_dropped() -> None:
    prior = Prior(name="a", description="b", joints=("left_thumb", "left_hand"))
    priors = Priors(layout="ntu25", by_name={"a": prior})
    found = priors.find("a", load_layout("kinect20"))
    assert found is not None
    assert found.joints == ("left_hand",)
    assert priors.find("a", load_layout("coco17")) is None


def test_unknown_file_is_one_line() -> None:
    with pytest.raises(InputError, match=r"agent\.priors: found 'nope', expected one of demo,"):
        load_priors("nope")


class TestOwnFile:
    """Priors that the user wrote, by the path of their file."""

    OWN = "classes:\n- {name: juggle, description: Balls fly., joints: [left_hand, right_hand]}\n- {name: nap}\n"

    def experiment(self, folder: Path, repository: Path, priors: object) -> Path:
        document = yaml.safe_load((repository / "pipelines" / "configs" / "demo.yaml").read_text())
        document["data"] |= {"classes": ["juggle", "nap"]}
        document["agent"] = {"priors": priors}
        path = folder / "my.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def test_stand_in_the_experiment_wherever_the_round_is_made(self, tmp_path: Path, repository: Path) -> None:
        (tmp_path / "own.yaml").write_text(self.OWN)
        path = self.experiment(tmp_path, repository, "own.yaml")
        stage = load_experiment(path).stage_agent()
        (tmp_path / "own.yaml").unlink()  # a pod of a cluster does not have it
        run_round(Round(parse_section(AgentStage, stage.to_json())), tmp_path / "c0")
        found = constraints.open(tmp_path / "c0")
        assert [c.provenance.status for c in found.classes] == ["prior", "no-prior"]
        assert found.classes[0].description == "Balls fly."
        assert found.manifest.made_from["priors"]

    def test_may_stand_in_the_experiment_itself_and_include_ours(self, tmp_path: Path, repository: Path) -> None:
        path = self.experiment(tmp_path, repository, {**yaml.safe_load(self.OWN), "include": "demo"})
        priors = load_priors(load_experiment(path).agent.priors)
        assert set(priors.by_name or {}) == {"juggle", *(load_priors("demo").by_name or {})}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, r"own\.yaml: cannot be read: No such file"),
            ("classes: [", r"own\.yaml: not valid YAML"),
            ("- a", r"own\.yaml: "),
            ("classes:\n- {name: nap, description: x}", r"own\.yaml: classes\.0\.joints: "),
            ("classes:\n- {name: nap, joints: [head], description: x, why: y}", r"own\.yaml: classes\.0\.why: "),
            ("classes:\n- {name: nap, joints: [tail], description: x}", "class 'nap': joints tail found, of .*head"),
            ("include: nope\nclasses: []", r"agent\.priors: found 'nope', expected one of"),
        ],
    )
    def test_mistakes_are_one_line(self, tmp_path: Path, repository: Path, content: str | None, message: str) -> None:
        if content is not None:
            (tmp_path / "own.yaml").write_text(content)
        path = self.experiment(tmp_path, repository, "own.yaml")
        with pytest.raises(InputError, match=message) as error:
            run_round(Round(load_experiment(path).stage_agent()), tmp_path / "c0")
        assert "\n" not in str(error.value)

    def test_a_template_is_a_file_to_fill_in(self, tmp_path: Path, repository: Path) -> None:
        path = self.experiment(tmp_path, repository, None)
        text = template(load_experiment(path))
        assert "left_hand" in text
        (tmp_path / "own.yaml").write_text(text)
        empty = self.experiment(tmp_path, repository, "own.yaml")
        assert load_priors(load_experiment(empty).agent.priors).by_name == {}
        filled = text.replace('description: ""\n  joints: []', "description: It moves.\n  joints: [head]", 1)
        (tmp_path / "own.yaml").write_text(filled)
        priors = load_priors(load_experiment(self.experiment(tmp_path, repository, "own.yaml")).agent.priors)
        assert [prior.name for prior in (priors.by_name or {}).values()] == ["juggle"]
        ours = load_experiment(repository / "pipelines" / "configs" / "demo.yaml")
        assert len(yaml.safe_load(template(ours))["classes"][0]["joints"]) >= 3
