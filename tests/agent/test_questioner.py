"""The Questioner: who is confused with whom, and whom to ask about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.agent.questioner import change, confused_classes, pair_counts, plan_round, plan_round_zero, rank
from components.contracts.config import AgentConfig, Price
from components.contracts.constraints import ClassConstraint, Provenance
from components.contracts.plan import Estimate, Plan, PlannedClass

UNCHANGED = "its confusions did not change materially since it was asked about"


def standing(
    classes: int,
    told_apart_from: dict[int, tuple[int, ...]] | None = None,
    shares: dict[int, tuple[float, ...]] | None = None,
) -> list[ClassConstraint]:
    origin = Provenance(status="prior", provider="offline")
    known = told_apart_from or {}
    return [
        ClassConstraint(
            label=k,
            name=f"class {k}",
            description="moves",
            joints=(0,),
            told_apart_from=known.get(k, ()),
            shares=(shares or {}).get(k, ()),
            provenance=origin,
        )
        for k in range(classes)
    ]


def counts_of(classes: int, mistakes: dict[tuple[int, int], int]) -> np.ndarray:
    counts = 10 * np.eye(classes, dtype=np.int64)
    for pair, count in mistakes.items():
        counts[pair] = count
    return counts


@st.composite
def confusions(draw: st.DrawFn) -> np.ndarray:
    classes = draw(st.integers(2, 8))
    cells = draw(st.lists(st.integers(0, 5), min_size=classes**2, max_size=classes**2))
    return np.asarray(cells, dtype=np.int64).reshape(classes, classes)


class TestRanking:
    def test_counts_both_directions_and_ranks_ties_by_class_number(self) -> None:
        counts = counts_of(4, {(0, 2): 1, (2, 0): 2, (0, 1): 3, (3, 0): 4})
        listed = confused_classes(counts, AgentConfig())[0]
        assert [(c.label, c.count) for c in listed] == [(3, 4), (1, 3), (2, 3)]

    def test_share_is_of_the_samples_of_the_class_whose_list_it_is(self) -> None:
        counts = counts_of(2, {(0, 1): 10})  # 20 samples of class 0, 10 of class 1
        config = AgentConfig(min_share=0.6)
        assert [len(listed) for listed in confused_classes(counts, config)] == [0, 1]

    def test_a_class_never_confused_has_an_empty_list(self) -> None:
        """The reference pads its lists with classes that were never confused (QUIRKS 1); ours must not."""
        assert confused_classes(counts_of(12, {(0, 1): 1}), AgentConfig(top_k=10))[5] == ()

    @given(counts=confusions(), top_k=st.integers(1, 9), min_count=st.integers(1, 6), min_share=st.floats(0, 1))
    @settings(max_examples=150, deadline=None)
    def test_every_listed_pair_is_real_and_ranked(
        self, counts: np.ndarray, top_k: int, min_count: int, min_share: float
    ) -> None:
        config = AgentConfig(top_k=top_k, min_count=min_count, min_share=min_share)
        lists = confused_classes(counts, config)
        samples = counts.sum(axis=1)
        for label, listed in enumerate(lists):
            assert len(listed) <= top_k
            assert label not in [c.label for c in listed]
            assert [(-c.count, c.label) for c in listed] == sorted((-c.count, c.label) for c in listed)
            for c in listed:
                assert c.count == counts[label, c.label] + counts[c.label, label] >= min_count
                assert c.share == pytest.approx(c.count / max(samples[label], 1))
                assert c.share >= min_share
            admitted = [
                other
                for other in range(len(counts))
                if other != label
                and (n := counts[label, other] + counts[other, label]) >= min_count
                and n / max(samples[label], 1) >= min_share
            ]
            assert len(listed) == min(len(admitted), top_k)

    @given(counts=confusions())
    @settings(max_examples=50, deadline=None)
    def test_direction_of_a_mistake_does_not_matter(self, counts: np.ndarray) -> None:
        assert (pair_counts(counts) == pair_counts(counts.T)).all()


class TestReference:
    """Against the statistics and class lists of the reference implementation."""

    def test_lists_agree_with_the_reference_where_it_does_not_pad(self, golden_dir: Path) -> None:
        golden = np.load(golden_dir / "d_statistics.npz", allow_pickle=False)
        statistics, theirs = golden["stats_after_batch_1_5_40"][-1], golden["class_list"]
        samples = np.bincount(golden["labels"].ravel(), minlength=60)
        lists = rank(statistics, samples, top_k=10, min_count=1, min_share=0.0)
        full = 0
        for label, listed in enumerate(lists):
            ours, reference = {c.label for c in listed}, set(theirs[label].tolist())
            assert ours <= reference
            assert all(statistics[label, other] == 0 for other in reference - ours)
            full += len(ours) == 10
        assert full >= 3  # lists that the reference did not pad: equal as sets

    def test_both_direction_counts_hold_every_confusion_that_the_reference_counts(self, golden_dir: Path) -> None:
        """The reference counts a false positive once per sample of the predicted class in its batch (QUIRKS 2)."""
        golden = np.load(golden_dir / "d_statistics.npz", allow_pickle=False)
        confusion, weighted = np.zeros((2, 60, 60), dtype=np.int64)
        for labels, logits in zip(golden["labels"], golden["logits"], strict=True):
            for true, predicted in zip(labels, logits.argmax(axis=1), strict=True):
                confusion[true, predicted] += 1
                if true != predicted:
                    weighted[true, predicted] += 1
                    weighted[predicted, true] += (labels == predicted).sum()
        assert (weighted == golden["stats_after_batch_1_5_40"][-1]).all()
        assert ((weighted > 0) <= (pair_counts(confusion) > 0)).all()


class TestPlan:
    def test_asks_only_where_the_confused_classes_are_new(self) -> None:
        counts = counts_of(4, {(0, 1): 2, (2, 3): 5})
        plan = plan_round(counts, standing(4, {0: (1,)}), AgentConfig())
        assert plan.order == (2, 3, 1)
        assert [entry.asked for entry in plan.classes] == [False, True, True, True]
        assert plan.classes[0].reason == UNCHANGED
        assert plan.classes[2].reason == "confused with class 3 (5)"

    def test_order_of_the_confused_classes_alone_is_no_change(self) -> None:
        counts = counts_of(3, {(0, 1): 2, (0, 2): 5})
        assert 0 not in plan_round(counts, standing(3, {0: (1, 2)}), AgentConfig()).order

    def test_fewer_confused_classes_are_a_change(self) -> None:
        assert 0 in plan_round(counts_of(3, {(0, 1): 2}), standing(3, {0: (1, 2)}), AgentConfig()).order

    def test_budget_goes_to_the_most_confused(self) -> None:
        counts = counts_of(6, {(0, 1): 2, (2, 3): 5, (4, 5): 9})
        plan = plan_round(counts, standing(6), AgentConfig(max_requests=3))
        assert plan.order == (4, 5, 2)
        assert plan.classes[3].reason == "beyond this round's max_requests (3)"

    def test_no_confusion_no_question(self) -> None:
        plan = plan_round(counts_of(3, {}), standing(3), AgentConfig())
        assert plan.order == ()
        assert {entry.reason for entry in plan.classes} == {"no confusion above the thresholds"}

    def test_the_plan_says_what_asking_costs_and_what_was_left(self) -> None:
        counts = counts_of(6, {(0, 1): 2, (2, 3): 5, (4, 5): 9})
        cost = Estimate(prompt_tokens=80, completion_tokens=20, cost=0.5)
        plan = plan_round(counts, standing(6), AgentConfig(max_tokens=350), lambda planned: cost)
        assert plan.order == (4, 5, 2)
        assert plan.estimate == Estimate(prompt_tokens=240, completion_tokens=60, cost=1.5)
        assert (plan.budget.requests, plan.budget.tokens, plan.budget.cost) == (1000, 350, None)
        assert plan.classes[3].reason == "beyond this round's max_tokens (350)"
        assert plan.classes[3].estimate == cost

    def test_money_is_a_limit_too(self) -> None:
        config = AgentConfig(model="m", max_cost=1.0, prices={"m": Price(prompt=1, completion=1)})
        counts = counts_of(4, {(0, 1): 2, (2, 3): 5})
        plan = plan_round(counts, standing(4), config, lambda planned: Estimate(cost=0.4))
        assert plan.order == (2, 3)
        assert plan.classes[0].reason == "beyond this round's max_cost (1)"

    def test_what_does_not_fit_does_not_let_the_less_confused_pass(self) -> None:
        counts = counts_of(6, {(0, 1): 2, (2, 3): 5, (4, 5): 9})

        def estimate(planned: PlannedClass) -> Estimate:
            return Estimate(prompt_tokens=1000 if planned.label == 2 else 1)

        assert plan_round(counts, standing(6), AgentConfig(max_tokens=100), estimate).order == (4, 5)

    def test_opening_asks_everybody_within_the_budget_and_nobody_offline(self) -> None:
        config = AgentConfig(provider="openai", max_requests=2)
        plan = plan_round_zero(standing(3), config)
        assert plan.order == (0, 1)
        assert plan.classes[2].reason == "beyond this round's max_requests (2)"
        offline = plan_round_zero(standing(3), AgentConfig())
        assert offline.order == ()
        assert {entry.reason for entry in offline.classes} == {"the written priors are the answer to the first round"}

    @given(counts=confusions(), budget=st.integers(1, 9))
    @settings(max_examples=100, deadline=None)
    def test_every_class_has_a_reason_and_asked_ones_are_confused(self, counts: np.ndarray, budget: int) -> None:
        plan = plan_round(counts, standing(len(counts)), AgentConfig(max_requests=budget))
        assert [entry.label for entry in plan.classes] == list(range(len(counts)))
        assert all(entry.reason for entry in plan.classes)
        assert set(plan.order) == {entry.label for entry in plan.classes if entry.asked}
        assert len(plan.order) <= budget
        assert all(plan.classes[label].confused for label in plan.order)
        assert Plan.model_validate_json(plan.model_dump_json()) == plan


class TestMaterialChange:
    """Samples: 10 right ones per class and the mistakes; a class's shares are of its own samples."""

    def changed(self, mistakes: dict[tuple[int, int], int], told: tuple[int, ...], shares: tuple[float, ...]) -> float:
        listed = confused_classes(counts_of(4, mistakes), AgentConfig())[3]  # never predicted wrongly: 10 samples
        found = change(listed, standing(4, {3: told}, {3: shares})[3])
        assert found is not None
        return found

    def test_is_the_sum_of_changes_of_share(self) -> None:
        assert self.changed({(0, 3): 2}, (0,), (0.2,)) == 0
        assert self.changed({(0, 3): 3}, (0,), (0.2,)) == pytest.approx(0.1)
        assert self.changed({(0, 3): 1, (1, 3): 4}, (0,), (0.2,)) == pytest.approx(0.1 + 0.4)
        assert self.changed({(1, 3): 4}, (0,), (0.2,)) == pytest.approx(0.2 + 0.4)

    def test_of_a_class_never_told_apart_is_undefined_and_it_is_asked(self) -> None:
        plan = plan_round(counts_of(2, {(0, 1): 1}), standing(2), AgentConfig(material_change=9))
        assert plan.classes[0].change is None
        assert plan.order == (0, 1)

    def test_decides_whether_to_ask_again(self) -> None:
        before = standing(4, {3: (0,), 0: (3,)}, {3: (0.2,), 0: (2 / 12,)})
        counts = counts_of(4, {(0, 3): 3})
        calm = plan_round(counts, before, AgentConfig(material_change=0.11))
        assert calm.order == ()
        assert calm.classes[3].reason == UNCHANGED
        assert calm.classes[3].change == pytest.approx(0.1)
        assert plan_round(counts, before, AgentConfig(material_change=0.09)).order == (3,)

    def test_a_new_rival_of_no_weight_changes_nothing(self) -> None:
        before = standing(4, {3: (0,)}, {3: (0.2,)})
        counts = counts_of(4, {(0, 3): 2, (1, 3): 1})
        counts[3, 3] = 100
        before[3] = before[3].model_copy(update={"shares": (0.02,)})
        plan = plan_round(counts, before, AgentConfig())
        assert [c.label for c in plan.classes[3].confused] == [0, 1]
        assert not plan.classes[3].asked

    @given(counts=confusions())
    @settings(max_examples=60, deadline=None)
    def test_the_same_confusions_again_are_no_change(self, counts: np.ndarray) -> None:
        first = plan_round(counts, standing(len(counts)), AgentConfig())
        told = {entry.label: tuple(c.label for c in entry.confused) for entry in first.classes}
        shares = {entry.label: tuple(c.share for c in entry.confused) for entry in first.classes}
        again = plan_round(counts, standing(len(counts), told, shares), AgentConfig(material_change=0.0))
        assert again.order == ()
