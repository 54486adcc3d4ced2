"""Skeleton layouts: the published bones, and what must hold for every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.config import DataConfig, load_experiment, parse_experiment, parse_section
from components.contracts.errors import InputError
from components.contracts.skeleton import STREAMS, Layout, inline_layout, layout_names, load_layout, read_layout

every_layout = pytest.mark.parametrize("layout", [load_layout(name) for name in layout_names()], ids=lambda x: x.name)
REFERENCE_NAMES = {"ntu25": "nturgb+d", "coco20": "coco_new", "uav17": "uav"}


def test_the_layouts_of_the_benchmarks_are_there() -> None:
    assert {"ntu25", "coco17", "coco20", "openpose18", "uav17", "kinect20", "sbu15"} <= set(layout_names())


@pytest.mark.parametrize(("name", "reference"), REFERENCE_NAMES.items())
class TestAgainstTheReference:
    def test_bones(self, golden_dir: Path, name: str, reference: str) -> None:
        golden = np.load(golden_dir / "h_graph.npz", allow_pickle=False)
        assert by_joint(load_layout(name).bones) == by_joint(golden[f"{reference}.bone_pairs"])

    def test_kbones(self, golden_dir: Path, name: str, reference: str) -> None:
        golden = np.load(golden_dir / "h_graph.npz", allow_pickle=False)
        assert by_joint(load_layout(name).kbones) == by_joint(golden[f"{reference}.kbone_pairs"])


def by_joint(pairs: np.ndarray) -> list[tuple[int, int]]:
    return sorted((int(joint), int(other)) for joint, other in pairs)


def test_bones_of_nw_ucla() -> None:
    """The bones of Kinect v1 as NW-UCLA is used with them (1-based, child and parent)."""
    published = [(1, 2), (2, 3), (3, 3), (4, 3), (5, 3), (6, 5), (7, 6), (8, 7), (9, 3), (10, 9), (11, 10), (12, 11),
                 (13, 1), (14, 13), (15, 14), (16, 15), (17, 1), (18, 17), (19, 18), (20, 19)]  # fmt: skip
    assert by_joint(load_layout("kinect20").bones + 1) == published


@every_layout
class TestEveryLayout:
    def test_mirroring_twice_changes_nothing(self, layout: Layout) -> None:
        mirrored = layout.mirrored
        np.testing.assert_array_equal(mirrored[mirrored], np.arange(len(layout.joints)))

    def test_mirroring_swaps_exactly_the_sided_joints(self, layout: Layout) -> None:
        swap = {"left": "right", "right": "left"}
        for number, joint in enumerate(layout.joints):
            side, _, place = joint.partition("_")
            expected = f"{swap[side]}_{place}" if side in swap else joint
            assert layout.joints[layout.mirrored[number]] == expected

    def test_mirroring_keeps_the_limbs_between_sided_joints(self, layout: Layout) -> None:
        sided = {number for number, other in enumerate(layout.mirrored.tolist()) if number != other}
        limbs = {frozenset(edge) for edge in layout.edges if set(edge) <= sided}
        assert {frozenset(int(layout.mirrored[joint]) for joint in limb) for limb in limbs} == limbs

    def test_parts_hold_every_joint_once(self, layout: Layout) -> None:
        numbers = [number for part in layout.part_numbers.values() for number in part]
        assert sorted(numbers) == list(range(len(layout.joints)))

    def test_every_bone_leads_to_a_root(self, layout: Layout) -> None:
        parent = layout.bones[:, 1]
        end = np.arange(len(parent))
        for _ in parent:
            end = parent[end]
        np.testing.assert_array_equal(parent[end], end)
        roots = 2 if layout.name == "uav17" else 1  # the reference gives the UAV head a root of its own
        assert len(set(end.tolist())) == roots

    def test_limbs_join_all_joints(self, layout: Layout) -> None:
        reached = {0}
        for _ in layout.joints:
            reached |= {joint for edge in layout.edges if reached & set(edge) for joint in edge}
        assert reached == set(range(len(layout.joints)))

    @pytest.mark.parametrize("stream", STREAMS)
    def test_stream_mask_marks_what_touches_a_critical_joint(self, layout: Layout, stream: str) -> None:
        mask = np.zeros((2, len(layout.joints)), dtype=np.float32)
        mask[0, 3] = 1
        pairs = layout.pairs(stream)
        marked = layout.stream_mask(mask, stream)
        assert np.flatnonzero(marked[0]).tolist() == [v for v, pair in enumerate(pairs.tolist()) if 3 in pair]
        assert not marked[1].any()

    @pytest.mark.parametrize("stream", STREAMS)
    def test_stream_mask_weighs_a_bone_as_its_heavier_end(self, layout: Layout, stream: str) -> None:
        weights = np.linspace(0, 1, len(layout.joints), dtype=np.float32)[None]
        expected = [max(weights[0, a], weights[0, b]) for a, b in layout.pairs(stream).tolist()]
        assert layout.stream_mask(weights, stream)[0].tolist() == expected


@given(st.text(max_size=30))
def test_an_unknown_layout_is_refused(name: str) -> None:
    if name not in layout_names():
        with pytest.raises(InputError, match=r"expected one of azure32|not the JSON of a layout"):
            load_layout(name)


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(InputError, match="stream: found 'x', expected one of j, b, k"):
        load_layout("ntu25").pairs("x")


OWN = """
joints: [hips, left_hip, right_hip, left_knee]
parents: {hips: hips, left_hip: hips, right_hip: hips, left_knee: left_hip}
"""


class TestOwnLayouts:
    def test_joints_and_parents_suffice(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(OWN)
        text = read_layout(tmp_path / "mine.yaml")
        layout = load_layout(text)
        assert layout.name == "mine" and layout.mirror == (("left_hip", "right_hip"),) and layout.centre == "hips"
        assert layout.parts == {"trunk": ("hips",), "left_leg": ("left_hip", "left_knee"), "right_leg": ("right_hip",)}
        assert layout.across == ("right_hip", "left_hip") and layout.bones.tolist() == [[0, 0], [1, 0], [2, 0], [3, 1]]
        assert inline_layout(layout.model_dump(mode="json")) == text  # it travels, and stays what it is

    @pytest.mark.parametrize("name", layout_names())
    def test_a_shipped_layout_may_travel_too(self, name: str) -> None:
        assert load_layout(inline_layout(load_layout(name).model_dump(mode="json"))) == load_layout(name)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "joints: [a, b]\nparents: {a: a}\n",
                "parents must name every joint once, a root as its own parent; missing: b",
            ),
            ("joints: [a, b]\nparents: {a: b, b: a}\n", "parents go round in a circle: a, b"),
            ("joints: [a, b]\nparents: {a: a, b: c}\n", "parents: not joints of this layout: c"),
            ("joints: [a, a]\nparents: {a: a}\n", "a joint name stands twice"),
            ("parents: {a: a}\n", "joints: Field required"),
            ("joints: [a]\nparents: {a: a}\ncolour: red\n", "colour: no such key"),
            ("- a\n", "found list, expected a layout"),
            ("joints: [a", "not valid YAML"),
        ],
    )
    def test_a_mistake_is_one_line_that_names_the_file(self, tmp_path: Path, text: str, expected: str) -> None:
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(InputError) as refused:
            read_layout(tmp_path / "mine.yaml")
        assert str(refused.value).startswith(str(tmp_path / "mine.yaml")) and expected in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"none\.yaml: layout cannot be read: No such file"):
            read_layout(tmp_path / "none.yaml")


EXPERIMENT = """
name: own
data: {layout: LAYOUT, classes: [a, b], protocols: {p: {train: x, test: y}}, protocol: p}
train: {epochs: 2}
"""


class TestLayoutOfAnExperiment:
    def test_a_path_is_relative_to_the_experiment_and_stands_in_it_from_then_on(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(OWN)
        (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace("LAYOUT", "mine.yaml"))
        made = load_experiment(tmp_path / "experiment.yaml")
        (tmp_path / "mine.yaml").unlink()
        for stage in (made.stage_preprocess(), made.stage_train("j").data, made.stage_agent().data):
            again = parse_section(DataConfig, stage.to_json())
            assert again.skeleton.joints == ("hips", "left_hip", "right_hip", "left_knee")

    def test_the_mapping_itself(self) -> None:
        made = parse_experiment(EXPERIMENT.replace("LAYOUT", "{joints: [a, b], parents: {a: a, b: a}}"), "text")
        assert made.data.skeleton.joints == ("a", "b") and made.data.skeleton.name == "own"

    def test_a_relative_path_without_a_folder_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"data\.layout: found the relative path 'mine\.yaml'"):
            parse_experiment(EXPERIMENT.replace("LAYOUT", "mine.yaml"), "text")


def data(**changes: object) -> DataConfig:
    values = {
        "layout": "coco17",
        "classes": ["a", "b"],
        "protocols": {"p": {"train": "x", "test": "y"}},
        "protocol": "p",
    }
    return DataConfig.model_validate({**values, **changes})


class TestJointOrder:
    def test_numbers_names_and_another_layout(self) -> None:
        coco = load_layout("coco17").joints
        assert data().joint_order is None
        assert data(joints=list(range(17))[::-1]).joint_order == tuple(range(17))[::-1]
        assert data(joints=["extra", *coco]).joint_order == tuple(range(1, 18))
        order = data(joints="openpose25").joint_order
        assert order is not None and [load_layout("openpose25").joints[number] for number in order] == list(coco)

    @pytest.mark.parametrize(
        ("joints", "expected"),
        [
            ([0, 1], "joints: found 2 numbers, expected 17"),
            ([0] * 17, "joints: a number stands twice or is negative"),
            (["nose"], "joints: left_eye, right_eye"),
            (["nose", 3], "joints: found names and numbers"),
            ("sbu15", "joints: nose, left_eye"),
        ],
    )
    def test_mistakes(self, joints: object, expected: str) -> None:
        with pytest.raises(ValueError, match=expected):
            data(joints=joints)
