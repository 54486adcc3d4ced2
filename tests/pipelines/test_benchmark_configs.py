"""The configs of the eight benchmarks say what the reference's 48 configurations say."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from components.agent.offline.priors import load_priors
from components.contracts.config import Experiment, TrainStage, load_experiment
from components.contracts.skeleton import STREAMS, load_layout
from components.runtime.experiments import cut, read_experiment_of_run
from pipelines.__main__ import app
from pipelines.parameters import one_line

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CONFIGS = ROOT / "pipelines" / "configs"
BENCHMARKS = ("ntu60_xsub", "ntu60_xview", "ntu120_xsub", "ntu120_xset", "k400", "finegym", "uav_csv1", "uav_csv2")
CLASS_NAMES = {"ntu60": "nturgbd_60", "ntu120": "nturgbd_120", "uav": "uav_human", "k400": "k400", "finegym": "finegym"}
LAYOUTS = {"nturgb+d": "ntu25", "coco_new": "coco20", "uav": "uav17"}
every_benchmark = pytest.mark.parametrize("benchmark", BENCHMARKS)
Settings = dict[str, Any]


@cache
def experiment(benchmark: str) -> Experiment:
    return load_experiment(CONFIGS / f"{benchmark}.yaml")


@cache
def published() -> dict[str, dict[str, Settings]]:
    file = SHARED / "reference" / "hyperparameters.json"
    if not file.is_file():
        pytest.skip(f"settings of the reference not found at {file}")
    found: dict[str, dict[str, Settings]] = json.loads(file.read_text())
    return found


def step(pipeline: list[Settings], kind: str) -> Settings | None:
    """Return a transform of a pipeline of the reference, None if it has none of this kind."""
    return next((transform for transform in pipeline if transform["type"] == kind), None)


@pytest.mark.parametrize("stream", STREAMS)
@every_benchmark
class TestAgainstTheReference:
    def stage(self, benchmark: str, stream: str) -> tuple[TrainStage, Settings]:
        return experiment(benchmark).stage_train(stream), published()[benchmark][stream]

    def test_optimisation(self, benchmark: str, stream: str) -> None:
        stage, theirs = self.stage(benchmark, stream)
        ours = stage.train
        assert theirs["optimizer"] == {
            "type": "SGD",
            "lr": ours.learning_rate,
            "momentum": ours.momentum,
            "weight_decay": ours.weight_decay,
            "nesterov": ours.momentum > 0,
        }
        # Cosine to zero per step and no clipping of gradients are how we train, not settings.
        assert theirs["lr"] == {"policy": "CosineAnnealing", "min_lr": 0, "by_epoch": False}
        assert theirs["grad_clip"] is None and ours.warmup_epochs == 0
        assert ours.batch == theirs["videos_per_gpu"]
        assert ours.epochs == theirs["epochs"] * (theirs["repeat_times"] or 1)
        assert (ours.label_smoothing, ours.class_balance, ours.mix) == (0, False, True)

    def test_losses_and_rounds(self, benchmark: str, stream: str) -> None:
        stage, theirs = self.stage(benchmark, stream)
        assert stage.train.constraint_weight == theirs["constraint_weight"]
        assert stage.train.alignment_weight == theirs["alignment_weight"]
        rounds = [stage.train.epochs_of_round(number, stage.rounds) for number in range(1, stage.rounds + 1)]
        assert {len(epochs) for epochs in rounds} == {theirs["interval_epochs"]}

    def test_network(self, benchmark: str, stream: str) -> None:
        stage, theirs = self.stage(benchmark, stream)
        model = stage.model
        plain = theirs["recognizer_variant"] == "GCN_Module_LLM_K400"
        assert (model.stem, model.blocks) == (("plain", 10) if plain else ("embedding", 9))  # QUIRKS 27
        assert model.width == 96 and model.inflate_at == ((4, 7) if plain else (3, 6))
        branches = [kind if isinstance(kind, str) else "{}x{}".format(*kind) for kind in theirs["tcn"]]
        assert [branch.replace("maxx", "max") for branch in branches] == list(model.temporal)
        graph = {"layout": theirs["layout"], "mode": "random", "init_off": 0.04, "init_std": 0.02}
        assert theirs["graph"] == graph | {"num_filter": model.subsets}
        assert theirs["other_backbone"] == {} and model.initial_weights == "published"

    def test_data(self, benchmark: str, stream: str) -> None:
        stage, theirs = self.stage(benchmark, stream)
        data, train = stage.data, theirs["train_pipeline"]
        assert data.layout == LAYOUTS[theirs["layout"]]
        assert len(data.classes) == theirs["num_classes"]
        assert data.chosen.train == theirs["train_split"]
        assert data.chosen.test == theirs["val_split"] == theirs["test_split"]
        assert data.max_persons == (step(train, "FormatGCNInput") or {}).get("num_person", 2)
        body = step(train, "PreNormalize3D")
        assert (data.dimensions, data.normalisation) == (("3d", "body") if body else ("2d+score", "none"))
        assert data.align == (body or {"align_spine": False})["align_spine"]
        assert data.persons == ("present" if body else "first")
        assert (data.format == "kinetics") == theirs["memcached"]
        assert data.kinetics.squeeze and data.kinetics.valid_ratio == 0

    def test_clips(self, benchmark: str, stream: str) -> None:
        """NTU: features, then sampling of short test clips at random; 2D: sampling at even starts, then features."""
        stage, theirs = self.stage(benchmark, stream)
        ours = stage.train
        kind = "UniformSampleDecode" if ours.motion == "sequence" else "UniformSampleFrames"
        assert ours.sampling == "uniform"
        assert (ours.motion, ours.test_starts) in (("sequence", "random"), ("joined", "spread"))
        assert step(theirs["train_pipeline"], kind) == {"type": kind, "clip_len": ours.frames}
        assert step(theirs["val_pipeline"], kind) == {"type": kind, "clip_len": ours.frames, "num_clips": 1}
        expected = {"type": kind, "clip_len": ours.frames, "num_clips": ours.test_clips}
        assert step(theirs["test_pipeline"], kind) == expected
        feature = {"type": "GenSkeFeat", "feats": [stream]}
        assert (step(theirs["test_pipeline"], "GenSkeFeat") or {}).items() >= feature.items()

    def test_augmentation(self, benchmark: str, stream: str) -> None:
        stage, theirs = self.stage(benchmark, stream)
        ours, train = stage.train.augmentation, theirs["train_pipeline"]
        assert ours.rotation == (step(train, "RandomRot") or {"theta": 0})["theta"]
        assert ours.part_drop == (0.2 if step(train, "Part_Drop") else 0)  # 0.2 is its default
        swap, mirror = step(train, "Spatial_Flip"), step(train, "Flip")
        assert ours.flip == ((swap or {"p": 0})["p"] or (mirror or {"flip_ratio": 0})["flip_ratio"])
        if ours.flip:
            assert ours.flip_kind == ("swap" if swap else "mirror")
        pairs = {tuple(pair) for pair in load_layout(stage.data.layout).mirror}
        if mirror is not None:
            names = load_layout(stage.data.layout).joints
            sides = zip(mirror["left_kp"], mirror["right_kp"], strict=True)
            assert {(names[left], names[right]) for left, right in sides} == pairs
        assert (ours.scale, ours.crop) == (0, 1)
        known = {"PreNormalize3D", "RandomRot", "Spatial_Flip", "Part_Drop", "Flip", "GenSkeFeat", "PoseDecode",
                 "UniformSampleDecode", "UniformSampleFrames", "Kinetics_Transform", "DecompressPose",
                 "FormatGCNInput", "Collect", "ToTensor"}  # fmt: skip
        assert {transform["type"] for transform in train} <= known


@every_benchmark
class TestEveryConfig:
    def test_all_streams_with_the_published_weights(self, benchmark: str) -> None:
        made = experiment(benchmark)
        assert made.name == benchmark and made.streams == STREAMS
        assert made.evaluate.weights == {"j": 2, "b": 2, "k": 2, "jm": 1, "bm": 1, "km": 1}

    def test_classes_are_the_published_ones(self, benchmark: str) -> None:
        file = SHARED / "reference" / "class_names" / f"{CLASS_NAMES[benchmark.split('_')[0]]}.txt"
        if not file.is_file():
            pytest.skip(f"class names of the reference not found at {file}")
        names = file.read_text(encoding="utf-8").splitlines()
        twice = {name for name in names if names.count(name) > 1}
        assert twice <= {"(BB) salto backward tucked"}  # ours must differ: the second ends "(dismount)"
        for ours, theirs in zip(experiment(benchmark).data.classes, names, strict=True):
            assert ours == theirs or (theirs in twice and ours.startswith(theirs))

    def test_every_class_has_a_prior(self, benchmark: str) -> None:
        made = experiment(benchmark)
        priors, layout = load_priors(made.agent.priors), load_layout(made.data.layout)
        assert not [name for name in made.data.classes if priors.find(name, layout) is None]

    def test_a_run_on_a_cluster_takes_it_as_one_line(self, benchmark: str) -> None:
        """As `make submit CONFIG=file` sends it; its parts fit what Kubernetes takes."""
        config = CONFIGS / f"{benchmark}.yaml"
        sent = one_line(yaml.safe_load(config.read_text(encoding="utf-8")))
        assert "\n" not in sent and read_experiment_of_run(sent, {}) == load_experiment(config)
        assert read_experiment_of_run(benchmark, {}) == load_experiment(config)
        assert cut(load_experiment(config)).train.keys() == set(load_experiment(config).streams)


def test_compiling_takes_the_rounds_of_the_config(tmp_path: Path) -> None:
    output = tmp_path / "pipeline.yaml"
    arguments = ["compile", "--config", str(CONFIGS / "k400.yaml"), "--output", str(output)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    document, _ = yaml.load_all(output.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    stages = [name for name, part in document["components"].items() if "executorLabel" in part]
    assert sum(name.startswith("comp-train") for name in stages) == 3
