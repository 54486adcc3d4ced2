"""The Selector: what becomes of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.agent.offline.provider import NO_PRIOR
from components.agent.providers import Answer, Question, Reply, Rival
from components.agent.selector import MAX_DESCRIPTION, Resolved, complaint, resolve, select, unchanged
from components.contracts.constraints import ClassConstraint, Provenance
from components.contracts.skeleton import Layout, layout_names, load_layout

KINECT = load_layout("kinect20")
QUESTION = Question(
    label=1,
    name="throw",
    description="An arm swings.",
    joints=("right_hand",),
    rivals=(Rival(4, "wave", "A hand waves.", ("left_hand",)), Rival(2, "carry", "Hands hold.", ("left_hand",))),
    layout="kinect20",
    dimensions="3d",
    max_persons=1,
    max_joints=4,
)
STANDING = ClassConstraint(
    label=1,
    name="throw",
    description="An arm swings.",
    joints=(11,),
    told_apart_from=(3,),
    provenance=Provenance(status="answered", provider="openai", model="m", request_hash="h", prompt_tokens=9, round=1),
)


def chosen(
    description: str = "Fast.", joints: tuple[str, ...] = ("head", "left_hand"), note: str = ""
) -> ClassConstraint:
    answer = Answer(description=description, joints=joints)
    reply = Reply(answer, "openai", model="m2", request_hash="h2", prompt_tokens=5, completion_tokens=2, note=note)
    return select(QUESTION, reply, STANDING, round_number=2, max_joints=4)


@pytest.mark.parametrize(
    ("written", "joint"),
    [
        ("left hand", "left_hand"),
        ("hand left", "left_hand"),
        ("LEFT-HAND", "left_hand"),
        ("l_hand", "left_hand"),
        ("R Hand", "right_hand"),
        ("rightWrist", "right_wrist"),
        ("leftelbow", "left_elbow"),
        ("hip center", "pelvis"),
        ("Hip Centre", "pelvis"),
        ("shoulder_center", "upper_spine"),
        ("neck", "upper_spine"),
        ("middle spine", "spine"),
        ("right feet", "right_foot"),
        ("left palm", "left_hand"),
    ],
)
def test_joint_names_as_people_write_them(written: str, joint: str) -> None:
    assert resolve([written], KINECT).joints == (KINECT.number(joint),)


def test_a_layout_of_the_users_is_known_too() -> None:
    own = Layout.model_validate(
        {
            "name": "mine",
            "joints": ["root", "left_arm", "tip"],
            "parents": {"root": "root", "left_arm": "root", "tip": "left_arm"},
        }
    )
    assert resolve(["Arm", "the TIP", "knee"], own) == Resolved((1, 2), ("knee",))


def test_a_synonym_never_hides_a_joint_of_the_layout() -> None:
    for name in layout_names():
        layout = load_layout(name)
        assert resolve(layout.joints, layout).joints == tuple(range(len(layout.joints))), name


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_spelling_of_a_joint_does_not_matter(data: st.DataObject) -> None:
    layout = load_layout(data.draw(st.sampled_from(layout_names())))
    joint = data.draw(st.sampled_from(layout.joints))
    words = data.draw(st.permutations(joint.split("_")))
    written = data.draw(st.sampled_from([" ", "_", "-", "  "])).join(words)
    written = data.draw(st.sampled_from([str.upper, str.title, str.lower]))(written)
    assert resolve([written], layout).joints == (layout.number(joint),)


@given(st.lists(st.text(max_size=20), max_size=5))
@settings(max_examples=80, deadline=None)
def test_any_text_is_either_a_joint_or_named_as_unknown(names: list[str]) -> None:
    resolved = resolve(names, KINECT)
    assert len(set(resolved.joints)) == len(resolved.joints)
    assert all(0 <= joint < len(KINECT.joints) for joint in resolved.joints)
    assert len(resolved.joints) / 2 + len(resolved.unknown) <= len(names)  # a name without a side is both


@pytest.mark.parametrize(
    ("written", "joints"),
    [
        ("hands", ("left_hand", "right_hand")),
        ("both knees", ("left_knee", "right_knee")),
        ("Elbow", ("left_elbow", "right_elbow")),
        ("feet", ("left_foot", "right_foot")),
        ("palms", ("left_hand", "right_hand")),
        ("left knee joint", ("left_knee",)),
        ("the wrist of the right", ("right_wrist",)),
        ("hips", ("pelvis",)),
    ],
)
def test_a_place_without_a_side_is_both_sides(written: str, joints: tuple[str, ...]) -> None:
    assert resolve([written], KINECT).joints == tuple(KINECT.number(joint) for joint in joints)


class TestUsable:
    def test_answer_becomes_the_constraint_with_its_provenance(self) -> None:
        constraint = chosen()
        assert constraint.joints == (3, 7)
        assert constraint.told_apart_from == (4, 2)
        assert constraint.provenance == Provenance(
            status="answered",
            provider="openai",
            model="m2",
            request_hash="h2",
            prompt_tokens=5,
            completion_tokens=2,
            round=2,
        )

    def test_repeated_and_unknown_joints_go_with_a_note(self) -> None:
        constraint = chosen(joints=("head", "Head", "tail", "left hand"))
        assert constraint.joints == (3, 7)
        assert constraint.provenance.note == "unknown joints dropped: 'tail'"

    def test_the_first_joints_stay_where_there_are_too_many(self) -> None:
        constraint = chosen(joints=("right_foot", "head", "left_hand", "spine", "pelvis"))
        assert constraint.joints == (1, 3, 7, 19)
        assert constraint.provenance.note == "the first 4 of 5 joints kept"

    def test_description_is_one_clean_line_of_bounded_length(self) -> None:
        assert chosen(description=" a\n\tb \x00c ").description == "a b c"
        assert len(chosen(description="word " * 5000).description) <= MAX_DESCRIPTION + 1


class TestFixedJoints:
    def test_the_text_moves_and_the_joints_stay(self) -> None:
        answer = Answer(description="Fast.", joints=("head", "tail"))
        reply = Reply(answer, "openai", model="m2", request_hash="h2")
        constraint = select(QUESTION, reply, STANDING, round_number=2, max_joints=4, fixed_joints=True)
        assert constraint.description == "Fast."
        assert constraint.joints == STANDING.joints
        assert constraint.told_apart_from == (4, 2)
        assert (constraint.provenance.status, constraint.provenance.note) == ("answered", "")


def votes(*answers: tuple[str, ...], start: ClassConstraint = STANDING, max_joints: int = 4) -> ClassConstraint:
    """The constraint after these answers to the same question, one round after the other."""
    for number, joints in enumerate(answers, start=2):
        reply = Reply(Answer(description="Fast.", joints=joints), "openai")
        start = select(QUESTION, reply, start, round_number=number, max_joints=max_joints, agreement=True)
    return start


class TestAgreement:
    def test_weights_are_the_shares_of_the_answers_that_named_a_joint(self) -> None:
        constraint = votes(("head", "right_hand"), ("head", "left_hand"))
        assert constraint.joints == (3, 7, 11)
        assert constraint.weights == pytest.approx((2 / 3, 1 / 3, 2 / 3), abs=1e-6)
        assert constraint.votes == 3

    def test_beyond_the_limit_the_least_agreed_goes_but_never_what_was_just_named(self) -> None:
        constraint = votes(("right_hand", "spine"), ("head", "left_hand", "right_foot"))
        assert constraint.joints == (3, 7, 11, 19)
        assert constraint.weights == pytest.approx((1 / 3, 1 / 3, 2 / 3, 1 / 3), abs=1e-6)

    def test_all_joints_for_want_of_a_prior_are_no_vote(self) -> None:
        everything = STANDING.model_copy(update={"joints": tuple(range(20))})
        constraint = votes(("head",), start=everything)
        assert (constraint.joints, constraint.weights, constraint.votes) == ((3,), (), 1)

    def test_an_unusable_answer_is_no_vote(self) -> None:
        once = votes(("head",))
        assert votes((), start=once).model_dump(exclude={"provenance"}) == once.model_dump(exclude={"provenance"})

    def test_fixed_joints_keep_their_weights(self) -> None:
        standing = votes(("head",))
        reply = Reply(Answer(description="Slow.", joints=("spine",)), "openai")
        constraint = select(QUESTION, reply, standing, round_number=3, max_joints=4, fixed_joints=True, agreement=True)
        assert (constraint.joints, constraint.weights, constraint.votes) == ((3, 11), (0.5, 0.5), 2)

    @given(st.data())
    @settings(max_examples=100, deadline=None)
    def test_whatever_is_answered_the_mask_is_neither_empty_nor_everything(self, data: st.DataObject) -> None:
        names = st.sampled_from((*KINECT.joints, "tail", "hands", ""))
        answers = data.draw(st.lists(st.lists(names, max_size=25).map(tuple), max_size=6))
        most = data.draw(st.integers(1, 25))
        agreement = data.draw(st.booleans())
        constraint = STANDING
        for number, joints in enumerate(answers, start=2):
            reply = Reply(Answer(description="Fast.", joints=joints), "openai")
            constraint = select(QUESTION, reply, constraint, round_number=number, max_joints=most, agreement=agreement)
            assert 1 <= len(constraint.joints) <= min(most, 19)
            assert constraint.joints == tuple(sorted(set(constraint.joints)))
            assert len(constraint.weights) in (0, len(constraint.joints))
            assert all(0 < weight <= 1 for weight in constraint.weights)
            known = resolve(joints, KINECT).joints
            if constraint.provenance.status == "answered":
                assert set(known[:most]) <= set(constraint.joints)


class TestUnusable:
    @pytest.mark.parametrize(
        ("description", "joints", "reason"),
        [
            ("  ", ("head",), "the description is empty"),
            ("Throw.", ("head",), "the description only repeats the name of the class"),
            ("d", (), "no joints are named"),
            ("d", ("tail", "wing"), "none of the joints is one of the skeleton's: 'tail', 'wing'"),
            ("d", KINECT.joints, "all joints of the skeleton are named, which singles out none"),
        ],
    )
    def test_previous_stays_and_says_why(self, description: str, joints: tuple[str, ...], reason: str) -> None:
        assert complaint(Answer(description=description, joints=joints), QUESTION) == reason
        constraint = chosen(description=description, joints=joints)
        assert (constraint.description, constraint.joints, constraint.told_apart_from) == (
            "An arm swings.",
            (11,),
            (3,),
        )
        assert constraint.provenance.status == "kept"
        assert constraint.provenance.note == f"unusable answer: {reason}"

    def test_origin_stays_and_tokens_are_this_rounds(self) -> None:
        origin = chosen(description="").provenance
        assert (origin.model, origin.request_hash, origin.round) == ("m", "h", 1)
        assert (origin.prompt_tokens, origin.completion_tokens) == (5, 2)
        assert unchanged(STANDING, "not asked", round_number=2).provenance.prompt_tokens == 0

    def test_a_missing_prior_is_still_told_in_later_rounds(self) -> None:
        origin = Provenance(status="no-prior", provider="offline", note=NO_PRIOR)
        standing = STANDING.model_copy(update={"provenance": origin})
        once = unchanged(standing, "not asked: x", round_number=1)
        twice = unchanged(once, "not asked: y", round_number=2)
        assert once.provenance.status == twice.provenance.status == "kept"
        assert twice.provenance.note == f"not asked: y; {NO_PRIOR}"
