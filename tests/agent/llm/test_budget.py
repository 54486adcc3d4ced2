"""What asking costs, before and while it happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from agent_helpers import NW_UCLA, QUESTION, Endpoint, Scene, ask, completion, good

from components.agent.core import plan_of_round, run_round
from components.agent.llm.budget import ANSWER_TOKENS, estimate
from components.agent.llm.ledger import BudgetLedger
from components.agent.round import Round
from components.contracts import constraints
from components.contracts.config import AgentConfig, Price
from components.contracts.plan import Estimate

MISTAKES = {("throw", "drop trash"): 5, ("sit down", "stand up"): 4}


class TestEstimate:
    def test_offline_is_free(self) -> None:
        assert estimate(QUESTION, AgentConfig()) == Estimate()

    def test_grows_with_the_question_and_is_priced(self) -> None:
        config = AgentConfig(provider="openai", model="m", prices={"m": Price(prompt=2, completion=10)})
        short, long = estimate(QUESTION, config), estimate(replace(QUESTION, description="so " * 400), config)
        assert long.prompt_tokens == pytest.approx(short.prompt_tokens + 300, abs=10)
        assert short.cost == pytest.approx((2 * short.prompt_tokens + 10 * ANSWER_TOKENS) / 1e6)
        assert estimate(QUESTION, AgentConfig(provider="openai")).cost is None

    def test_words_alone_are_shorter_than_the_schema(self) -> None:
        with_schema = AgentConfig(provider="openai")
        without = with_schema.model_copy(update={"structured_output": "text"})
        assert estimate(QUESTION, without).prompt_tokens < estimate(QUESTION, with_schema).prompt_tokens


class TestLedger:
    def test_reserved_tokens_are_spoken_for(self) -> None:
        ledger, request = BudgetLedger(AgentConfig(max_tokens=100)), Estimate(prompt_tokens=30, completion_tokens=20)
        assert ledger.reserve(request) == ledger.reserve(request) == ""
        assert ledger.reserve(request) == "max_tokens (100)"
        ledger.settle(request)
        assert ledger.reserve(request) == ""

    def test_money(self) -> None:
        prices = {"m": Price(prompt=0, completion=1e6)}
        ledger = BudgetLedger(AgentConfig(model="m", max_cost=5, prices=prices))
        ledger.remembered(1000, 4)
        assert ledger.reserve(Estimate(completion_tokens=1)) == ""
        assert ledger.reserve(Estimate(completion_tokens=1)) == "max_cost (5)"


class TestRounds:
    def test_repairs_do_not_overdraw_the_budget(self, endpoint: Endpoint) -> None:
        endpoint.default = completion("nonsense")
        questions = [replace(QUESTION, name=name) for name in NW_UCLA]
        replies = ask(endpoint, *questions, max_tokens=2000, concurrency=1)
        spent = sum(reply.prompt_tokens + reply.completion_tokens for reply in replies)
        assert spent == 120 * len(endpoint.requests) <= 2000
        assert replies[-1].note == "not sent: this round's max_tokens (2000) is used up"

    def test_plan_and_cost_are_in_the_artifact(self, scene: Scene, endpoint: Endpoint) -> None:
        endpoint.default = good()
        prices = {"m": {"prompt": 1.0, "completion": 10.0}}
        stage = scene.stage(provider="openai", base_url=endpoint.url, model="m", prices=prices, max_cost=0.008)
        run_round(Round(scene.stage()), scene.root / "c0")
        inputs = {"confusion": scene.confusion(stage, MISTAKES), "previous": scene.root / "c0"}
        foreseen = plan_of_round(Round(stage, stream="j", number=1, **inputs))
        assert endpoint.requests == []
        run_round(Round(stage, stream="j", number=1, **inputs), scene.root / "c1")
        found = constraints.open(scene.root / "c1")
        assert found.plan == foreseen
        asked = {entry.name for entry in foreseen.classes if entry.asked}
        assert {"throw", "drop trash"} <= asked
        assert len(asked) == len(foreseen.order) == len(endpoint.requests) < 4
        assert foreseen.estimate.cost is not None and foreseen.estimate.cost <= 0.008
        assert found.classes[5].provenance.note == "not asked: beyond this round's max_cost (0.008)"
        about = constraints.verify(scene.root / "c1").about
        assert about["tokens"] == 120 * len(asked)
        assert about["cost"] == pytest.approx(len(asked) * (100 * 1 + 20 * 10) / 1e6)

    def test_planning_needs_no_key(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        assert plan_of_round(Round(scene.stage(provider="openai"))).order == tuple(range(10))

    def test_the_plan_is_written_for_people(self, scene: Scene) -> None:
        run_round(Round(scene.stage()), scene.root / "c0")
        text = Path(scene.root / "c0" / "plan.json").read_text()
        assert '"reason": "the written priors are the answer to the first round"' in text
        assert text.count("\n") > 20
