"""The written priors: complete, in the layout, and telling."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.agent.priors import Prior, Priors, load_priors, prior_names
from components.contracts.config import load_experiment
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout

SBU = (
    "approaching", "departing", "kicking", "pushing", "shaking hands", "hugging", "exchanging object", "punching",
)  # fmt: skip


@pytest.mark.parametrize("name", prior_names())
class TestEveryFile:
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


def test_ntu60_is_covered(golden_dir: Path) -> None:
    names = (golden_dir.parent / "reference" / "class_names" / "nturgbd_60.txt").read_text().splitlines()
    priors = load_priors("ntu60")
    assert len(names) == 60 == len(priors.by_name or {})
    assert all(priors.find(name, load_layout("ntu25")) for name in names)


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
    with pytest.raises(InputError, match=r"agent\.priors: found 'nope', expected one of demo, ntu60, nw_ucla, sbu"):
        load_priors("nope")
