"""Given the reference's random draws, clips, augmentation and mixing are the reference's (recorded golden data)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import experiment

from components.contracts import dataset
from components.contracts.config import Augmentation, TrainConfig, TrainStage
from components.contracts.errors import InputError
from components.contracts.skeleton import STREAMS, load_layout
from components.preprocess.normalise import normalise
from components.preprocess.readers.samples import Sample
from components.train.clips import features as inputs
from components.train.clips.augment import Draws, augment
from components.train.clips.features import test_features as features_of_test_clip
from components.train.clips.gather import ClipSource
from components.train.clips.mix import Draw, Region, mix
from components.train.clips.sampling import Frames, UniformDraws, uniform_numbers
from components.train.clips.sampling import test_frames as frames_of_test_clip
from components.train.clips.streams import stream_features

NTU = load_layout("ntu25")
LAYOUTS = {"nturgb+d": "ntu25", "coco_new": "coco20", "uav": "uav17"}
SEQUENCES_3D = pytest.mark.parametrize("sequence", ["1p_T70", "2p_T150", "2p_T260_swap"])
SEQUENCES_2D = pytest.mark.parametrize("sequence", ["1p_T70", "2p_T150", "2p_T260"])
LAYOUTS_2D = pytest.mark.parametrize("reference", ["coco_new", "uav"])
CLIP = 100


def recorded(golden: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(golden / f"{name}.npz", allow_pickle=False) as archive:
        return dict(archive)


def drawn(chance: np.random.RandomState, length: int) -> UniformDraws:
    """Draw a clip of one sequence in the reference's order: a share of the sequence (unused), then what counts."""
    chance.rand()
    start, skipped, offsets = torch.zeros(1).long(), torch.zeros(1, CLIP + 1).bool(), torch.zeros(1, CLIP).long()
    if length < CLIP:
        start[0] = chance.randint(0, length)
    elif length < 2 * CLIP:
        skipped[0, chance.choice(CLIP + 1, length - CLIP, replace=False)] = True
    else:
        sizes = np.diff(np.arange(CLIP + 1) * length // CLIP)
        offsets[0] = torch.from_numpy(chance.randint(sizes))
    return UniformDraws(start, skipped, offsets)


def numbers(chance: np.random.RandomState, length: int) -> np.ndarray:
    return uniform_numbers(torch.tensor([length]), drawn(chance, length))[0].numpy()


@SEQUENCES_3D
def test_frames_of_ntu_training_clips(golden_dir: Path, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_nturgbd_{sequence}")
    length = int(golden["prenorm_total_frames"])
    for seed in (51, 52, 53):
        found = numbers(np.random.RandomState(seed), length)
        np.testing.assert_array_equal(found, golden[f"usd_train_seed{seed}_inds"])


@LAYOUTS_2D
@SEQUENCES_2D
def test_frames_of_2d_training_clips(golden_dir: Path, reference: str, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_{reference}_{sequence}")
    for seed in (71, 72):
        found = numbers(np.random.RandomState(seed), golden["raw"].shape[1])
        np.testing.assert_array_equal(found, golden[f"usf_train_seed{seed}_inds"])


def check_test_clips(golden: dict[str, np.ndarray], length: int, prefix: str, starts: str) -> None:
    for clips in (1, 10):
        config = TrainConfig(epochs=1, test_clips=clips, test_starts=starts)
        found = [frames_of_test_clip(torch.tensor([length]), config, clip).lower[0] for clip in range(clips)]
        np.testing.assert_array_equal(torch.cat(found), golden[f"{prefix}_test_nc{clips}_inds"])


@SEQUENCES_3D
def test_frames_of_ntu_test_clips(golden_dir: Path, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_nturgbd_{sequence}")
    check_test_clips(golden, int(golden["prenorm_total_frames"]), "usd", "random")


@LAYOUTS_2D
@SEQUENCES_2D
def test_frames_of_2d_test_clips(golden_dir: Path, reference: str, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_{reference}_{sequence}")
    check_test_clips(golden, golden["raw"].shape[1], "usf", "spread")


def rotated(golden: dict[str, np.ndarray], seed: int, chance: np.random.RandomState | None = None) -> torch.Tensor:
    """Rotate all frames of a normalised NTU sequence as the reference does, float64 ``[1, M, T, V, 3]``."""
    angles = (chance or np.random.RandomState(seed)).uniform(-0.2, 0.2, size=3)
    # The reference turns the axes, we turn the body.
    draws = Draws(angles=torch.from_numpy(-angles)[None])
    return augment(torch.from_numpy(golden["prenorm"].astype(np.float64))[None], NTU, draws)


@SEQUENCES_3D
def test_rotation(golden_dir: Path, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_nturgbd_{sequence}")
    np.testing.assert_allclose(rotated(golden, 21)[0].numpy(), golden["randomrot_seed21"], atol=1e-12)


@SEQUENCES_3D
def test_flip_of_3d_skeletons(golden_dir: Path, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_nturgbd_{sequence}")
    joints = torch.from_numpy(golden["randomrot_seed21"])[None]
    for seed in (31, 32):
        flipped = torch.tensor([random.Random(seed).random() < 0.5])
        found = augment(joints, NTU, Draws(flipped=flipped))
        np.testing.assert_array_equal(found[0].float().numpy(), golden[f"spatial_flip_seed{seed}"])


@SEQUENCES_3D
def test_part_drop(golden_dir: Path, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_nturgbd_{sequence}")
    limbs = ("left_arm", "left_leg", "right_arm", "right_leg")  # the reference's order
    for seed in range(41, 47):
        chance, kept = random.Random(seed), torch.ones(1, 25)
        if chance.random() < 0.8:
            kept[0, list(NTU.part_numbers[limbs[chance.randint(0, 3)]])] = 0
        left = augment(torch.ones(1, 1, 2, 25, 3), NTU, Draws(kept=kept))
        zero = (left[0, 0, 0] == 0).all(dim=1).nonzero().flatten()
        np.testing.assert_array_equal(zero, np.sort(golden[f"part_drop_p0.8_seed{seed}_zero_joints"]))


@LAYOUTS_2D
@SEQUENCES_2D
def test_clips_of_2d_skeletons(golden_dir: Path, reference: str, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_{reference}_{sequence}")
    frames = numbers(np.random.RandomState(72), golden["raw"].shape[1])
    np.testing.assert_allclose(golden["raw"][:, frames], golden["posedecode_seed72_kp"], rtol=1e-6)
    np.testing.assert_allclose(golden["raw_score"][:, frames], golden["posedecode_seed72_score"], rtol=1e-6)


@SEQUENCES_2D
def test_flip_of_2d_skeletons(golden_dir: Path, sequence: str) -> None:
    golden = recorded(golden_dir, f"b_coco_new_{sequence}")
    clip = np.concatenate([golden["posedecode_seed72_kp"], golden["posedecode_seed72_score"][..., None]], axis=-1)
    widths = torch.from_numpy(golden["img_shape"][1:])
    found = augment(
        torch.from_numpy(clip)[None], load_layout("coco17"), Draws(flipped=torch.tensor([True])), mirrored_x=widths
    )
    np.testing.assert_array_equal(found[0, ..., :2].numpy(), golden["flip_done_kp"])
    np.testing.assert_array_equal(found[0, ..., 2].numpy(), golden["flip_done_score"])
    for seed in (81, 82):
        assert (np.random.RandomState(seed).rand() < 0.5) == golden[f"flip_seed{seed}_done"]


@pytest.mark.parametrize("stream", STREAMS)
@SEQUENCES_3D
def test_streams_of_ntu_at_test_time(golden_dir: Path, sequence: str, stream: str) -> None:
    """As in training but from float16 coordinates, in which the reference subtracts (QUIRKS 21)."""
    golden = recorded(golden_dir, f"b_nturgbd_{sequence}")
    found = stream_features(torch.from_numpy(golden["prenorm"]).float(), NTU, stream)
    subtractions = {"j": 0, "b": 1, "k": 1, "jm": 1, "bm": 2, "km": 2}[stream]
    most = subtractions * np.abs(golden["prenorm"]).max() * np.finfo(np.float16).eps
    np.testing.assert_allclose(found.numpy(), golden[f"feat_test_{stream}"], rtol=0, atol=most)


@pytest.mark.parametrize("stream", STREAMS)
@SEQUENCES_2D
def test_streams_of_uav(golden_dir: Path, sequence: str, stream: str) -> None:
    golden = recorded(golden_dir, f"b_uav_{sequence}")
    joints = np.concatenate([golden["posedecode_seed72_kp"], golden["posedecode_seed72_score"][..., None]], axis=-1)
    found = stream_features(torch.from_numpy(joints), load_layout("uav17"), stream)
    np.testing.assert_allclose(found.numpy(), golden[f"feat_{stream}"], rtol=0, atol=1e-6)


def stage_of(reference: str, clips: int = 1) -> TrainStage:
    """The reference's settings of a layout: motion at frame rate and random short test clips on NTU."""
    three_d = reference == "nturgb+d"
    settings = {"motion": "sequence", "test_starts": "random"} if three_d else {"motion": "joined"}
    made = experiment(frames=CLIP, sampling="uniform", test_clips=clips, **settings).model_dump(mode="json")
    made["data"] |= {"layout": LAYOUTS[reference], "dimensions": "3d" if three_d else "2d+score"}
    return TrainStage.model_validate({key: made[key] for key in ("seed", "rounds", "data", "model", "train")})


def chance_of_training(
    monkeypatch: pytest.MonkeyPatch, reference: str, length: int, golden: dict[str, np.ndarray]
) -> None:
    """Let training draw what the reference drew with seed 61, in its order of drawing."""
    chance, draws = np.random.RandomState(61), Draws()
    if reference == "nturgb+d":
        draws = Draws(angles=torch.from_numpy(-chance.uniform(-0.2, 0.2, size=3)).float()[None])
    frames = torch.from_numpy(numbers(chance, length))[None]
    if reference == "coco_new":
        draws = Draws(flipped=torch.tensor([chance.rand() < 0.5]))
    monkeypatch.setattr(inputs, "training_frames", lambda *_: Frames(frames, frames, torch.zeros(1, CLIP)))
    monkeypatch.setattr(inputs, "draw", lambda *_, **__: draws)


def packed(path: Path, stage: TrainStage, golden: dict[str, np.ndarray]) -> ClipSource:
    """Pack the recorded sequence as preprocess would; NTU from the reference's own normalisation."""
    sample = golden.get("prenorm")
    if sample is None:
        sample = normalise(Sample(0, "x", 0, golden["raw"], golden["raw_score"]), stage.data)
    with dataset.Writer(path / "dataset", stage.data, made_from={}) as writer:
        writer.append("x", 0, sample, int(golden["img_shape"][1]) if "img_shape" in golden else 0)
        writer.splits({"train": ["x"], "test": ["x"]})
    return ClipSource(dataset.open(path / "dataset"), 2, torch.device("cpu"))


@pytest.mark.parametrize("stream", ["j", "b", "km"])
@pytest.mark.parametrize(
    ("reference", "sequence"),
    [("nturgb+d", name) for name in ("1p_T70", "2p_T150", "2p_T260_swap")]
    + [(name, sequence) for name in ("coco_new", "uav") for sequence in ("1p_T70", "2p_T150", "2p_T260")],
)
class TestWholePipeline:
    def test_validation(self, golden_dir: Path, tmp_path: Path, reference: str, sequence: str, stream: str) -> None:
        golden, stage = recorded(golden_dir, f"b_{reference.replace('+', '')}_{sequence}"), stage_of(reference)
        source, layout = packed(tmp_path, stage, golden), load_layout(stage.data.layout)
        found = features_of_test_clip(source, torch.tensor([0]), stage, layout, stream, 0)
        expected = golden[f"pipeline_val_{stream}_seed61"]
        # NTU: the reference subtracts in float16.
        half = np.finfo(np.float16).eps * np.abs(golden["prenorm"]).max() if "prenorm" in golden else 0
        tolerance = {"j": 1e-6, "b": half or 1e-4, "km": 2 * half or 1e-4}[stream]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=tolerance)

    def test_training(
        self,
        golden_dir: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        reference: str,
        sequence: str,
        stream: str,
    ) -> None:
        golden, stage = recorded(golden_dir, f"b_{reference.replace('+', '')}_{sequence}"), stage_of(reference)
        source, layout = packed(tmp_path, stage, golden), load_layout(stage.data.layout)
        chance_of_training(monkeypatch, reference, int(source.frames[0]), golden)
        found = inputs.training_features(source, torch.tensor([0]), stage, layout, stream, torch.Generator())
        scale = float(source.keypoints.abs().max())
        np.testing.assert_allclose(found.numpy(), golden[f"pipeline_train_{stream}_seed61"], atol=1e-6 * scale)


@pytest.mark.parametrize("stream", ["j", "k", "jm", "bm"])
@SEQUENCES_3D
def test_ten_clips_of_ntu(golden_dir: Path, tmp_path: Path, sequence: str, stream: str) -> None:
    """The reference makes features of the whole sequence and takes the frames of all clips from these."""
    golden, stage = recorded(golden_dir, f"b_nturgbd_{sequence}"), stage_of("nturgb+d", clips=10)
    source = packed(tmp_path, stage, golden)
    whole = stream_features(torch.from_numpy(golden["prenorm"]).float(), NTU, stream)
    expected = whole[:, golden["usd_test_nc10_inds"]].unflatten(1, (10, CLIP))
    for clip in range(10):
        found = features_of_test_clip(source, torch.tensor([0]), stage, NTU, stream, clip)[0]
        torch.testing.assert_close(found[: len(expected)], expected[:, clip])


@pytest.mark.parametrize("stream", ["j", "k", "jm", "bm"])
@LAYOUTS_2D
@SEQUENCES_2D
def test_ten_clips_of_2d_skeletons(
    golden_dir: Path, tmp_path: Path, reference: str, sequence: str, stream: str
) -> None:
    """The reference joins the clips to a thousand frames, whose features run on from clip to clip (QUIRKS 23)."""
    golden, stage = recorded(golden_dir, f"b_{reference}_{sequence}"), stage_of(reference, clips=10)
    source, layout = packed(tmp_path, stage, golden), load_layout(stage.data.layout)
    joints = normalise(Sample(0, "x", 0, golden["raw"], golden["raw_score"]), stage.data)
    joined = stream_features(torch.from_numpy(joints[:, golden["usf_test_nc10_inds"]]), layout, stream)
    expected = joined.unflatten(1, (10, CLIP))
    apart = stage.model_copy(update={"train": stage.train.model_copy(update={"motion": "clip"})})
    for clip in range(10):
        arguments = (torch.tensor([0]), stage, layout, stream, clip)
        found = features_of_test_clip(source, *arguments)[0]
        torch.testing.assert_close(found[: len(expected)], expected[:, clip])
        own = features_of_test_clip(source, arguments[0], apart, *arguments[2:])[0]
        assert torch.equal(own[:, :-1], found[:, :-1])
        assert not stream.endswith("m") or not bool(own[:, -1].any())


def test_pixels_are_not_mirrored_without_their_image(golden_dir: Path, tmp_path: Path) -> None:
    golden, stage = recorded(golden_dir, "b_coco_new_1p_T70"), stage_of("coco_new")
    flipping = stage.train.model_copy(update={"augmentation": Augmentation(flip=0.5)})
    stage = stage.model_copy(update={"train": flipping})
    packed(tmp_path / "known", stage, golden)
    inputs.check_flip(dataset.open(tmp_path / "known" / "dataset"), stage)
    del golden["img_shape"]
    packed(tmp_path / "unknown", stage, golden)
    with pytest.raises(InputError, match="img_shape of 1 training samples is not known"):
        inputs.check_flip(dataset.open(tmp_path / "unknown" / "dataset"), stage)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reference", LAYOUTS)
def test_skeleton_mix(golden_dir: Path, reference: str, seed: int) -> None:
    golden = recorded(golden_dir, "g_skeleton_mix")
    clips = torch.from_numpy(golden[f"{reference}.input"])
    expected, distribution = (golden[f"{reference}.seed{seed}.mix_{what}"] for what in ("data", "label"))
    draw = mix_drawn_by_the_reference(seed, len(clips), load_layout(LAYOUTS[reference]).part_numbers)
    mixed, labels = mix(clips, torch.from_numpy(golden[f"{reference}.label"]), distribution.shape[1], draw)
    np.testing.assert_allclose(mixed.numpy(), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(labels.numpy(), distribution, rtol=0, atol=1e-6)


def mix_drawn_by_the_reference(seed: int, batch: int, parts: Mapping[str, tuple[int, ...]]) -> Draw:
    """Draw in the reference's order; on NTU its list has the arms and legs of the other side (QUIRKS 18)."""
    order = ["trunk", "left_arm", "right_arm", "left_leg", "right_leg"]
    if sum(map(len, parts.values())) == 25:
        order = ["trunk", "right_arm", "left_arm", "right_leg", "left_leg"]
    shift = int(torch.randint(1, batch - 1, (1,), generator=torch.Generator().manual_seed(seed)))
    chance = random.Random(seed)
    chosen = chance.sample(order, chance.randint(2, 3))
    joints = tuple(sorted(joint for part in chosen for joint in parts[part]))
    slots = chance.randint(13, 20)
    start = chance.randint(0, 25 - slots)
    if chance.random() <= 0.25:
        return Draw(shift, blend=chance.random())
    source = chance.randint(slots, 25)
    source_start = chance.randint(0, 25 - source)
    return Draw(shift, Region(joints, 4 * start, 4 * slots, 4 * source_start, 4 * source))
