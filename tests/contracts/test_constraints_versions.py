"""Constraints of schema 1.0 (no plan, no shares) and 1.1 (no weights) still open; newer ones hold together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_artifacts import EXPERIMENT, MADE_FROM, write_constraints

from components.contracts import constraints
from components.contracts.artifact import Schema, seal
from components.contracts.config import AgentConfig, AgentStage, Price
from components.contracts.errors import InputError
from components.contracts.plan import Budget, Estimate, Plan, PlannedClass


def plan_for(classes: int) -> Plan:
    planned = [PlannedClass(label=k, name=f"c{k}", asked=False, reason="r", change=0.1) for k in range(classes)]
    return Plan(budget=Budget(requests=3), estimate=Estimate(cost=0.5), order=(), classes=tuple(planned))


def test_a_version_without_plan_and_shares_opens(tmp_path: Path) -> None:
    write_constraints(tmp_path / "c")
    now = constraints.open(tmp_path / "c")
    file = tmp_path / "c" / "constraints.json"
    document = json.loads(file.read_text())
    for entry in document["classes"]:
        for later in ("shares", "weights", "votes"):
            del entry[later]
    file.write_text(json.dumps(document))
    seal(tmp_path / "c", Schema("constraints", 1, 0), made_from={}, config={}, about={})
    old = constraints.open(tmp_path / "c")
    assert old.plan is None
    assert old.classes == now.classes


def test_plan_comes_back_as_it_was(tmp_path: Path) -> None:
    write_constraints(tmp_path / "c")
    told = replace(constraints.open(tmp_path / "c"), plan=plan_for(3))
    constraints.write(tmp_path / "d", told, made_from=MADE_FROM, config=EXPERIMENT.stage_agent())
    assert constraints.open(tmp_path / "d").plan == plan_for(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": plan_for(2)}, r"plan\.json: 2 classes found, 3 expected"),
        ({"shares": (0.1, 0.2)}, r"class 0 .*: shares: 2 found, 1 expected"),
        ({"weights": (0.1,) * 9}, r"class 0 .*: weights: 9 found, \d expected"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_constraints(tmp_path / "c")
    told = constraints.open(tmp_path / "c")
    if "plan" not in change:
        first = told.classes[0].model_copy(update=change)
        change = {"classes": (first, *told.classes[1:])}
    with pytest.raises(InputError, match=message):
        constraints.write(tmp_path / "d", replace(told, **change), made_from={}, config=EXPERIMENT.stage_agent())  # type: ignore[arg-type]


def test_weights_come_back_and_count(tmp_path: Path) -> None:
    write_constraints(tmp_path / "c")
    told = constraints.open(tmp_path / "c")
    joints = told.classes[1].joints
    weights = tuple((number + 1) / 8 for number in range(len(joints)))
    told = replace(told, classes=(told.classes[0], told.classes[1].model_copy(update={"weights": weights, "votes": 8}),
                                  *told.classes[2:]))  # fmt: skip
    constraints.write(tmp_path / "d", told, made_from={}, config=EXPERIMENT.stage_agent())
    found = constraints.open(tmp_path / "d")
    assert found.classes == told.classes
    assert found.joint_weights()[1, list(joints)].tolist() == list(weights)
    assert (found.joint_weights()[0] == found.joint_mask()[0]).all()
    assert ((found.joint_weights() > 0) == (found.joint_mask() > 0)).all()


def test_cost_is_told_where_the_model_has_a_price(tmp_path: Path) -> None:
    write_constraints(tmp_path / "c")
    told, stage = constraints.open(tmp_path / "c"), EXPERIMENT.stage_agent()
    assert "cost" not in constraints.verify(tmp_path / "c").about
    priced = AgentStage(data=stage.data, agent=AgentConfig(model="m", prices={"m": Price(prompt=2e6, completion=1)}))
    constraints.write(tmp_path / "d", told, made_from={}, config=priced)
    assert constraints.verify(tmp_path / "d").about["cost"] == 18.0


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ({"max_cost": 1.0}, "max_cost: needs the price of model 'gpt-4o' in prices"),
        ({"parameters": {"stream": True}}, "stream: set by the agent itself"),
        ({"prices": {"m": {"prompt": -1, "completion": 0}}}, "greater than or equal to 0"),
        ({"material_change": -0.1}, "greater than or equal to 0"),
    ],
)
def test_wrong_agent_settings_are_named(agent: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AgentConfig.model_validate(agent)
