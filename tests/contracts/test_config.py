"""The experiment document: what is refused and how it is said, the slices of the stages, the schedule's rounds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made_artifacts import DOCUMENT

from components.contracts.config import (
    AgentStage,
    Experiment,
    TrainConfig,
    TrainStage,
    load_experiment,
    parse_experiment,
    parse_section,
)
from components.contracts.errors import InputError


def document(**changes: Any) -> dict[str, Any]:
    """The small document with dotted keys (written with ``__``) replaced."""
    made = copy.deepcopy(DOCUMENT)
    for key, value in changes.items():
        *path, last = key.split("__")
        place = made
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return made


def parse(overrides: dict[str, Any] | None = None, **changes: Any) -> Experiment:
    return parse_experiment(yaml.safe_dump(document(**changes)), "my.yaml", overrides)


def refusal(overrides: dict[str, Any] | None = None, **changes: Any) -> str:
    with pytest.raises(InputError) as error:
        parse(overrides, **changes)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("my.yaml: ")
    return message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train__lerning_rate": 1}, "train.lerning_rate: no such key; did you mean train.learning_rate?"),
        ({"colour": "red"}, "colour: no such key; expected one of name, "),
        ({"train__epochs": "many"}, "train.epochs: Input should be a valid integer"),
        ({"train__epochs": 0}, "train.epochs: Input should be greater than 0 (found 0)"),
        ({"train__learning_rate": float("nan")}, "train.learning_rate"),
        ({"train__learning_rate": float("inf")}, "train.learning_rate"),
        ({"train__augmentation__flip": 1.5}, "train.augmentation.flip: Input should be less than or equal to 1"),
        ({"name": "../../etc"}, "name: String should match pattern"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"streams": ["j", "j"]}, "streams: a stream stands twice"),
        ({"streams": ["x"]}, "streams.0: Input should be 'j', 'b', 'k', 'jm', 'bm' or 'km' (found 'x')"),
        ({"streams": []}, "streams"),
        ({"rounds": 5}, "rounds: found 5, expected at most train.epochs (4)"),
        ({"data__layout": "ntu24"}, "data.layout: layout: found 'ntu24', expected one of azure32, coco17, coco20"),
        ({"data__protocol": "q"}, "data: protocol: found 'q', expected one of p"),
        ({"data__classes": ["a", "a"]}, "a name stands twice"),
        ({"data__classes": ["a"]}, "data.classes"),
        ({"data__dimensions": "2d+score"}, "need dimensions '3d'"),
        ({"data__persons": "first"}, "normalisation 'body' moves the main person to the origin"),
        ({"model__width": 10, "model__subsets": 4}, "width: found 10, expected a multiple of subsets (4)"),
        ({"model__temporal": ["2x1"]}, "found '2x1', expected KERNELxDILATION (odd kernel)"),
        ({"model__inflate_at": [9]}, "inflate_at: found [9]"),
        ({"evaluate__weights": {"j": 0, "b": 0}}, "evaluate.weights: every stream of this run has weight 0"),
        ({"evaluate__weights": {"j": -1}}, "evaluate.weights.j: Input should be greater than or equal to 0"),
        ({"stream_overrides": {"j": {"epoch": 3}}}, "stream_overrides.j: epoch: no such key; did you mean epochs?"),
        ({"stream_overrides": {"j": {"batch": 0, "epochs": 0}}}, "batch: Input should be greater than 0"),
        ({"train__held_out": 0.5}, "train.held_out: Input should be less than 0.5 (found 0.5)"),
        ({"stream_overrides": {"j": {"held_out": 0.1}}}, "stream_overrides.j: held_out: found 0.1, expected that"),
        ({"stream_overrides": {"j": {"epochs": 1}}}, "stream_overrides.j: rounds: found 2, expected at most"),
        (
            {"data__dimensions": "2d+score", "data__normalisation": "image",
             "stream_overrides": {"b": {"augmentation": {"rotation": 0.1}}}},
            "stream_overrides.b: train.augmentation.rotation needs data.dimensions '3d'",
        ),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(**changes)


def test_all_mistakes_are_named_in_one_line() -> None:
    message = refusal(train__epochs=0, data__layout="none", colour=1)
    for field in ("train.epochs", "data.layout", "colour"):
        assert field in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "found NoneType, expected a mapping"),
        ("- a", "found list, expected a mapping"),
        ("a: [1", "not valid YAML"),
        ("a: b: c", "line 1 not valid YAML"),
        ("!!python/object/apply:os.system [echo]", "not valid YAML"),
        ("{}", "name: Field required; data: Field required; train: Field required"),
    ],
)
def test_text_that_is_no_document(text: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        parse_experiment(text, "my.yaml")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml: cannot be read: No such file"):
        load_experiment(tmp_path / "nothing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.yaml: cannot be read"):
        load_experiment(tmp_path / "binary.yaml")


class TestOverrides:
    def test_dotted_keys_replace_values(self) -> None:
        made = parse({"train.learning_rate": 0.5, "train.augmentation.flip": 0.25, "seed": 7})
        assert (made.train.learning_rate, made.train.augmentation.flip, made.seed) == (0.5, 0.25, 7)
        assert made.train.epochs == 4

    def test_unknown_key(self) -> None:
        assert "train.speed: no such key" in refusal({"train.speed": 1})

    @pytest.mark.parametrize("key", ["name.more", "train.epochs.x"])
    def test_key_below_a_value(self, key: str) -> None:
        with pytest.raises(InputError, match=rf"^{key}: cannot be set: \w+ is a value, not a section$"):
            parse({key: 1})

    def test_stream_overrides_reach_their_stream_only(self) -> None:
        made = parse(stream_overrides={"b": {"learning_rate": 0.5}})
        assert made.stage_train("b").train.learning_rate == 0.5
        assert made.stage_train("j").train == made.train

    def test_stream_overrides_of_a_section_replace_only_what_they_name(self) -> None:
        made = parse(
            train__augmentation={"rotation": 0.2, "flip": 0.5}, stream_overrides={"b": {"augmentation": {"flip": 0}}}
        )
        assert (made.stage_train("b").train.augmentation.rotation, made.stage_train("b").train.augmentation.flip) == (
            0.2,
            0,
        )


SLICES = {
    "preprocess": lambda made: made.stage_preprocess(),
    "train j": lambda made: made.stage_train("j"),
    "train b": lambda made: made.stage_train("b"),
    "agent": lambda made: made.stage_agent(),
    "evaluate": lambda made: made.stage_evaluate(),
}


@pytest.mark.parametrize(
    ("changes", "touched"),
    [
        ({"train__learning_rate": 0.5}, {"train j", "train b"}),
        ({"model__width": 32}, {"train j", "train b"}),
        ({"seed": 3}, {"train j", "train b"}),
        ({"stream_overrides": {"b": {"batch": 4}}}, {"train b"}),
        ({"agent__top_k": 1}, {"agent"}),
        ({"evaluate__weights": {"j": 1, "b": 3}}, {"evaluate"}),
        ({"description": "another"}, {"evaluate"}),
        ({"streams": ["j"]}, set()),
        ({"data__align": True}, set(SLICES)),
    ],
)
def test_a_change_reaches_only_the_stages_that_it_concerns(changes: dict[str, Any], touched: set[str]) -> None:
    before, after = parse(), parse(**changes)
    changed = {stage for stage, slice_of in SLICES.items() if slice_of(before).to_json() != slice_of(after).to_json()}
    assert changed == touched


def test_slices_survive_the_journey_as_json() -> None:
    made = parse()
    assert parse_section(TrainStage, made.stage_train("j").to_json()) == made.stage_train("j")
    assert parse_section(AgentStage, made.stage_agent().to_json()) == made.stage_agent()
    with pytest.raises(InputError, match="data: Field required"):
        parse_section(AgentStage, "{}")
    with pytest.raises(InputError, match="config: Invalid JSON"):
        parse_section(AgentStage, "{")


@given(st.integers(1, 500).flatmap(lambda epochs: st.tuples(st.just(epochs), st.integers(1, epochs))))
def test_rounds_share_the_epochs(epochs_and_rounds: tuple[int, int]) -> None:
    """Every epoch belongs to exactly one round, in order, and the rounds differ by at most one epoch."""
    epochs, rounds = epochs_and_rounds
    train = TrainConfig(epochs=epochs)
    parts = [train.epochs_of_round(number, rounds) for number in range(1, rounds + 1)]
    assert [epoch for part in parts for epoch in part] == list(range(epochs))
    assert all(len(part) > 0 for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shipped_experiments_are_valid(repository: Path) -> None:
    files = sorted((repository / "pipelines" / "configs").glob("*.yaml"))
    assert files
    for file in files:
        assert load_experiment(file).name


class TestModelSizes:
    def test_a_size_names_a_network_that_other_keys_override(self) -> None:
        small = parse(model={"size": "small"}).model
        assert (small.width, small.blocks, small.inflate_at) == (32, 5, (2, 4))
        medium = parse(model={"size": "medium", "width": 64}).model
        assert (medium.width, medium.blocks, medium.temporal) == (64, 4, ("3x1", "3x2", "max3", "1x1"))
        assert parse(model={"size": "published"}).model == parse(model={}).model
        assert parse_section(type(small), small.to_json()) == small

    def test_the_reduced_networks_are_those_of_the_shipped_experiments(self, repository: Path) -> None:
        for name, size in (("demo", "small"), ("nw_ucla_quick", "tiny")):
            shipped = load_experiment(repository / "pipelines" / "configs" / f"{name}.yaml").model
            named = parse(model={"size": size, "velocity": True}).model
            assert shipped.model_dump(exclude={"size"}) == named.model_dump(exclude={"size"})

    def test_an_unknown_size(self) -> None:
        assert "model.size: Input should be 'tiny', 'small', 'medium' or 'published'" in refusal(
            model={"size": "large"}
        )
