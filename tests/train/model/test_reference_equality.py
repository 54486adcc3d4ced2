"""The recogniser, its losses and its streams compute what the reference computed (recorded golden data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_helpers import VARIANTS, reference_model
from safetensors.numpy import load_file

from components.contracts.errors import InputError
from components.contracts.skeleton import STREAMS, load_layout
from components.train.clips.streams import stream_features
from components.train.model.losses import training_loss
from components.train.model.recogniser import Output
from components.train.trained.reference_weights import from_reference


def close(found: torch.Tensor, expected: np.ndarray, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("variant", VARIANTS)
def test_network_in_eval_mode(golden_dir: Path, variant: str) -> None:
    model, mask, recorded = reference_model(golden_dir, variant)
    model.eval()
    clips = torch.from_numpy(recorded["input"])
    with torch.no_grad():
        output = model(clips, mask)
        close(model.features(clips).mean(dim=(1, 3)), recorded["eval_feat_pooled"])
        close(model.classify(clips), recorded["eval_cls_score"])
    close(output.logits, recorded["eval_cls_score"])
    close(output.constraint, recorded["eval_x_1"])
    close(output.alignment, recorded["eval_x_2"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_network_in_train_mode_with_its_batch_statistics(golden_dir: Path, variant: str) -> None:
    model, mask, recorded = reference_model(golden_dir, variant)
    model.train()
    output = model(torch.from_numpy(recorded["input"]), mask)
    close(output.logits, recorded["train_cls_score"])
    close(output.constraint, recorded["train_x_1"], atol=5e-5)
    close(output.alignment, recorded["train_x_2"], atol=5e-5)
    statistics = model.state_dict()
    for part in ("running_mean", "running_var"):
        close(statistics[f"stem.norm.{part}"], recorded[f"after_train_fwd.backbone.data_bn.{part}"])
        close(
            statistics[f"blocks.8.temporal_conv.norm.{part}"], recorded[f"after_train_fwd.backbone.gcn.8.tcn.bn.{part}"]
        )


def test_incomplete_reference_checkpoint_is_refused(golden_dir: Path) -> None:
    state = load_file(golden_dir / "a_ntu60_state_dict_fp16.safetensors")
    del state["backbone.gcn.3.gcn.post.bias"]
    with pytest.raises(InputError, match=r"backbone\.gcn\.3\.gcn\.post\.bias is missing"):
        from_reference(state)


@pytest.mark.parametrize("name", ["C60", "C400"])
def test_losses_and_their_gradients(golden_dir: Path, name: str) -> None:
    with np.load(golden_dir / f"c_loss_{name}.npz") as recorded:
        arrays = {key: torch.from_numpy(recorded[key]) for key in recorded.files if recorded[key].dtype.kind in "fi"}
    heads = [arrays[key].requires_grad_() for key in ("cls_score", "x_1", "x_2")]
    labels = arrays["label"]
    text = torch.zeros(arrays["cls_score"].shape[1], arrays["text_embedding"].shape[1])
    text[labels] = arrays["text_embedding"]
    constraint_weight, alignment_weight = arrays["weights"].tolist()
    losses = training_loss(
        Output(*heads),
        labels,
        arrays["mix_label"],
        text,
        arrays["logit_scale"].squeeze(),
        constraint_weight=constraint_weight,
        alignment_weight=alignment_weight,
    )
    losses.total.backward()
    for part, key in (("clean", "ce"), ("mixed", "mix"), ("constraint", "constraint"), ("alignment", "align")):
        close(getattr(losses, part), arrays[f"loss_{key}"].numpy())
    close(losses.total, arrays["loss_total"].numpy())
    for head, key in zip(heads, ("grad_cls", "grad_x_1", "grad_x_2"), strict=True):
        assert head.grad is not None
        close(head.grad, arrays[key].numpy(), atol=1e-6)


@pytest.mark.parametrize(("variant", "dataset"), [("ntu60", "nturgbd_60"), ("k400", "k400")])
def test_constraint_head_alone(golden_dir: Path, variant: str, dataset: str) -> None:
    model, mask, _ = reference_model(golden_dir, variant)
    with np.load(golden_dir / "i_local_joint.npz") as recorded:
        features = torch.from_numpy(recorded[f"{dataset}.x"]).view(2, 2, 384, -1)
        with torch.no_grad():
            model.constraint.weight.copy_(torch.from_numpy(recorded[f"{dataset}.w"][:, :, 0, 0]))
            model.constraint.bias.copy_(torch.from_numpy(recorded[f"{dataset}.b"]))
            found = model.heads(features, mask).constraint
        close(found, recorded[f"{dataset}.x_1"])


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("sequence", ["1p_T70", "2p_T150", "2p_T260_swap"])
def test_streams_of_ntu(golden_dir: Path, sequence: str, stream: str) -> None:
    with np.load(golden_dir / f"b_nturgbd_{sequence}.npz") as recorded:
        joints = torch.from_numpy(recorded["randomrot_seed21"])
        expected = recorded[f"feat_train_{stream}"]
    found = stream_features(joints, load_layout("ntu25"), stream)
    close(found.float(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(("prefix", "layout", "joints_of"), [("b_coco_new", "coco20", "kinetics_transform")])
@pytest.mark.parametrize("sequence", ["1p_T70", "2p_T150", "2p_T260"])
def test_streams_of_2d_skeletons(
    golden_dir: Path, prefix: str, layout: str, joints_of: str, sequence: str, stream: str
) -> None:
    with np.load(golden_dir / f"{prefix}_{sequence}.npz") as recorded:
        joints, expected = torch.from_numpy(recorded[joints_of]), recorded[f"feat_{stream}"]
    close(stream_features(joints, load_layout(layout), stream), expected, rtol=0, atol=1e-6)
