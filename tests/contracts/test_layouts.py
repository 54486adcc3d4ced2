"""Skeleton layouts: the published bones, and what must hold for every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import InputError
from components.contracts.skeleton import STREAMS, Layout, layout_names, load_layout

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
