"""Gradients, first graphs, training confusion and clip averages are the reference's (recorded golden data)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_helpers import VARIANTS, reference_model
from safetensors.numpy import load_file
from torch.nn import functional as F
from train_helpers import experiment

from components.contracts import scores
from components.contracts.config import Experiment, ModelConfig
from components.contracts.skeleton import load_layout
from components.train.core import Outputs, train_round
from components.train.model.losses import Losses
from components.train.model.recogniser import Recogniser
from components.train.round import Round
from components.train.trained import inference
from components.train.trained.reference_weights import from_reference
from components.train.training.loop import Tally

LAYOUTS = {"nturgb+d": "ntu25", "coco_new": "coco20", "uav": "uav17"}


def reference_gradients(golden: Path, variant: str) -> tuple[float, dict[str, tuple[float, float, int]]]:
    """Return the recorded loss and, per parameter of the reference, norm, sum and size of our gradient.

    Some of its parameters are parts of ours: a state dict that holds parameter numbers shows which.
    """
    model, mask, io = reference_model(golden, variant)
    label = torch.tensor(json.loads((golden / f"a_{variant}_train_grads.json").read_text())["label"])
    output = model.train()(torch.from_numpy(io["input"]), mask)
    loss = F.cross_entropy(output.logits, label) + F.cross_entropy(output.constraint, label)
    loss = loss + output.alignment.square().mean()
    loss.backward()
    state = load_file(golden / f"a_{variant}_state_dict_fp16.safetensors")
    names = list(state)
    places, _ = from_reference({name: np.full(state[name].shape, row, np.float32) for row, name in enumerate(names)})
    found = {}
    for ours, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        gradient, rows = parameter.grad.double().numpy(), places[ours]
        for row in np.unique(rows):
            part = gradient[rows == row]
            found[names[int(row)]] = (float(np.linalg.norm(part)), float(part.sum()), part.size)
    return float(loss.detach()), found


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients(golden_dir: Path, variant: str) -> None:
    """Norm and sum of every gradient, to 0.1 %, of itself or where its terms cancel of its block's largest.

    The graph scales are sums over all joints and frames that cancel to a thousandth: in float64 ours differ from
    the recorded ones as much as in float32, so that is the rounding of the recording.
    """
    recorded = json.loads((golden_dir / f"a_{variant}_train_grads.json").read_text())
    loss, found = reference_gradients(golden_dir, variant)
    assert loss == pytest.approx(recorded["scalar"], rel=1e-5)
    expected = recorded["grad_norm_sum"]
    assert found.keys() == expected.keys()

    def block(name: str) -> str:
        inside = re.match(r"backbone\.gcn\.\d+", name)
        return inside[0] if inside else "outside"

    largest: dict[str, float] = {}
    for name, (norm, _) in expected.items():
        largest[block(name)] = max(largest.get(block(name), 0), norm)
    exact = 0
    for name, (norm, total) in expected.items():
        scale = name.endswith(("alpha", "beta"))
        tolerance = 1e-3 * norm + (1e-2 if scale else 1e-3) * largest[block(name)]
        ours, our_total, size = found[name]
        assert abs(ours - norm) <= tolerance, name
        assert abs(our_total - total) <= tolerance * np.sqrt(size), name
        exact += abs(ours - norm) <= 1e-3 * norm + 1e-4
    assert exact > 0.8 * len(expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_of_every_person_and_joint(golden_dir: Path, variant: str) -> None:
    model, _, io = reference_model(golden_dir, variant)
    clips = torch.from_numpy(io["input"])
    with torch.no_grad():
        found = model.eval().features(clips)
        pooled = model.train().features(clips).mean(dim=(1, 3))
    np.testing.assert_allclose(found.numpy(), io["eval_feat_mtv"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(pooled.numpy(), io["train_feat_pooled"], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_initial_weights_are_drawn_as_the_reference_draws_them(golden_dir: Path, variant: str) -> None:
    """The recorded weights are initial ones, the scales of graphs and the virtual joint and statistics apart."""
    recorded, _ = from_reference(load_file(golden_dir / f"a_{variant}_state_dict_fp16.safetensors"))
    config, joints, classes = VARIANTS[variant]
    torch.manual_seed(0)
    model = Recogniser(config.model_copy(update={"initial_weights": "published"}), joints, 2, classes, 512)
    for name, parameter in model.named_parameters():
        ours, theirs = parameter.detach().numpy().ravel(), recorded[name].ravel()
        if name.endswith("_scale") or name.endswith("global_weight") or ours.size < 32:
            continue
        spread, bound, many = theirs.std(), np.abs(theirs).max(), np.sqrt(ours.size)
        assert abs(ours.std() - spread) <= 4 * spread / many, name
        assert abs(np.abs(ours).max() - bound) <= 0.35 * bound, name
        assert abs(ours.mean() - theirs.mean()) <= 6 * spread / many, name


@pytest.mark.parametrize(("reference", "layout"), LAYOUTS.items())
def test_limbs_are_the_edges_of_the_reference(golden_dir: Path, reference: str, layout: str) -> None:
    with np.load(golden_dir / "h_graph.npz") as golden:
        edges, hops = golden[f"{reference}.inward"], golden[f"{reference}.hop_dis"]
    limbs = {frozenset(edge) for edge in load_layout(layout).edges}
    if layout == "uav17":  # drawn with a neck for the head to sit on, instead of a line between the hips
        limbs = limbs - {frozenset({0, 1})} | {frozenset({7, 10})}
    assert limbs == {frozenset(edge) for edge in edges.tolist()}
    distance = np.full(hops.shape, np.inf)
    np.fill_diagonal(distance, 0)
    for one, other in limbs:
        distance[one, other] = distance[other, one] = 1
    np.testing.assert_array_equal(distance, hops)


@pytest.mark.parametrize(("reference", "layout"), LAYOUTS.items())
def test_first_graphs_are_drawn_as_the_reference_draws_them(
    golden_dir: Path, monkeypatch: pytest.MonkeyPatch, reference: str, layout: str
) -> None:
    joints = len(load_layout(layout).joints)
    normal = torch.from_numpy(np.random.RandomState(12).randn(8, joints, joints))
    monkeypatch.setattr(torch, "randn", lambda *shape: normal)
    model = Recogniser(ModelConfig(blocks=2, inflate_at=()), joints, 1, 4, 8)
    with np.load(golden_dir / "h_graph.npz") as golden:
        expected = golden[f"{reference}.A_random_seed12"]
    for name in ("blocks.0.graph_conv.graph", "blocks.1.graph_conv.graph"):
        np.testing.assert_allclose(model.get_parameter(name).detach().numpy(), expected, atol=1e-12)


def test_training_confusion_holds_the_statistics_of_the_reference(golden_dir: Path) -> None:
    """The reference adds to each mistake (i taken for j) those samples of class j that were in the batch (QUIRKS 2)."""
    with np.load(golden_dir / "d_statistics.npz") as golden:
        labels, logits = torch.from_numpy(golden["labels"]), torch.from_numpy(golden["logits"])
        expected = golden["stats_after_batch_1_5_40"]
    statistics, snapshots = np.zeros((60, 60), dtype=np.int64), []
    epoch = Tally.empty(60, torch.device("cpu"))
    nothing = Losses(*torch.zeros(5))
    for number, (batch, outputs) in enumerate(zip(labels, logits, strict=True), start=1):
        tally = Tally.empty(60, torch.device("cpu"))
        for counted in (tally, epoch):
            counted.add(nothing, outputs, batch)
        counts = tally.confusion_matrix()
        mistakes = counts - np.diag(np.diag(counts))
        statistics += mistakes + counts.sum(axis=1)[:, None] * mistakes.T
        if number in (1, 5, 40):
            snapshots.append(statistics.copy())
    np.testing.assert_array_equal(snapshots, expected)
    everything = np.zeros((60, 60), dtype=np.int64)
    np.add.at(everything, (labels.flatten(), logits.argmax(dim=2).flatten()), 1)
    np.testing.assert_array_equal(epoch.confusion_matrix(), everything)


@pytest.mark.parametrize("name", ["C60", "C400"])
def test_training_accuracy(golden_dir: Path, name: str) -> None:
    with np.load(golden_dir / f"c_loss_{name}.npz") as golden:
        labels, logits = torch.from_numpy(golden["label"]), torch.from_numpy(golden["cls_score"])
        expected = float(golden["top1"])
    tally = Tally.empty(logits.shape[1], torch.device("cpu"))
    tally.add(Losses(*torch.zeros(5)), logits[: len(labels)], labels)
    assert tally.record(1, 1, 0.1).top1 == pytest.approx(expected)


def test_scores_of_clips_are_averaged_as_probabilities(golden_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(golden_dir / "e_average_clips.npz") as golden:
        clip_scores, expected = torch.from_numpy(golden["clip_scores"]), golden["prob"]

    class Recorded:
        """Answers clip after clip with the recorded scores."""

        def __init__(self) -> None:
            self.clips = iter(clip_scores.unbind(dim=1))

        def classify(self, *_: object) -> torch.Tensor:
            return next(self.clips)

    class Source:
        device = torch.device("cpu")

        def present(self, _: torch.Tensor) -> None: ...

    stage = experiment(test_clips=10).stage_train("j")
    classes = tuple(str(number) for number in range(60))
    stage = stage.model_copy(update={"data": stage.data.model_copy(update={"classes": classes})})
    monkeypatch.setattr(inference, "test_features", lambda *_: torch.zeros(3))
    monkeypatch.setattr(inference, "fold", lambda model: model)
    found = inference.probabilities(Recorded(), Source(), torch.arange(3), stage, load_layout("ntu25"), "j")  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("stream", ["k", "jm"])
def test_published_settings_train_from_end_to_end(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, stream: str
) -> None:
    settings = {"sampling": "uniform", "motion": "sequence", "test_starts": "random"}
    augmentation = {"rotation": 0.2, "flip": 0.5, "flip_kind": "swap", "part_drop": 0.2}
    made = experiment(epochs=2, augmentation=augmentation, **settings).model_dump(mode="json")
    made["model"]["initial_weights"] = "published"
    stage = Experiment.model_validate(made).stage_train(stream)
    found = []
    for attempt in ("one", "two"):
        outputs = Outputs(*(tmp_path / attempt / name for name in ("checkpoint", "confusion", "scores")))
        train_round(Round(stage, stream, 1, tiny_dataset, tiny_constraints), outputs)
        found.append(scores.open(outputs.scores).probabilities)
    np.testing.assert_array_equal(*found)
    assert np.isfinite(found[0]).all()
