"""Published checkpoints as users have them, imported under the configs of their benchmarks."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from components.contracts import checkpoint
from components.contracts.config import load_experiment
from components.contracts.skeleton import load_layout
from components.train.__main__ import app
from components.train.model.recogniser import Recogniser
from components.train.trained.reference_weights import from_reference

VARIANTS = {"ntu60": "ntu60_xsub", "k400": "k400"}


def weights(golden: Path, variant: str) -> OrderedDict[str, torch.Tensor]:
    """The recorded state dict, its own part in float32 as it was saved, with a stand-in for the text tower."""
    state = load_file(golden / f"a_{variant}_state_dict_fp16.safetensors")
    arrays = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in state.items()}
    tensors = OrderedDict((name, torch.from_numpy(np.array(array))) for name, array in arrays.items())
    tensors["backbone.clip_model.positional_embedding"] = torch.zeros(77, 4)
    tensors._metadata = OrderedDict([("", {"version": 1})])  # type: ignore[attr-defined]  # as Module.state_dict()
    return tensors


def save(tensors: OrderedDict[str, torch.Tensor], form: str, path: Path) -> Path:
    """Save as ``torch.save(model.state_dict())``, as mmcv's runner does, or as it did under NumPy 1."""
    if form == "bare":
        torch.save(tensors, path)
        return path
    best = {"best_score": np.float64(0.9275), "best_ckpt": "best_top1_acc_epoch_148.pth"}
    meta = {
        "epoch": 150,
        "iter": 1,
        "mmcv_version": "1.5.0",
        "time": "x",
        "config": "model = dict()",
        "hook_msgs": best,
    }
    torch.save({"meta": meta, "state_dict": tensors}, path)
    if form == "mmcv, NumPy 1":
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content.replace(b"numpy._core.", b"numpy.core."))
    return path


@pytest.mark.parametrize("form", ["bare", "mmcv", "mmcv, NumPy 1"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_import_under_the_config_of_the_benchmark(
    golden_dir: Path, repository: Path, tmp_path: Path, variant: str, form: str
) -> None:
    source = save(weights(golden_dir, variant), form, tmp_path / "best.pth")
    config, output = repository / "pipelines" / "configs" / f"{VARIANTS[variant]}.yaml", tmp_path / "checkpoint"
    arguments = ["import", str(source), "--config", str(config), "--output", str(output), "--stream", "j"]
    ended = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert "not mapped: backbone.clip_model (1), backbone.examplar (1)" in ended.output

    imported, stage = checkpoint.open(output), load_experiment(config).stage_train("j")
    joints, classes = len(load_layout(stage.data.layout).joints), len(stage.data.classes)
    model = Recogniser(stage.model, joints, stage.data.max_persons, classes, imported.state.text_dimensions)
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in imported.model.items()})
    with np.load(golden_dir / f"a_{variant}_io.npz") as recorded, torch.inference_mode():
        found = model.eval().classify(torch.from_numpy(recorded["input"]))
        np.testing.assert_allclose(found.numpy(), recorded["eval_cls_score"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_tensor_is_mapped_or_named(golden_dir: Path, variant: str) -> None:
    """Each number of the file is found in ours exactly once, but for those that the reference never uses."""
    state = load_file(golden_dir / f"a_{variant}_state_dict_fp16.safetensors")
    spans, total = {}, 0
    for name, array in state.items():
        spans[name] = np.arange(total, total + array.size, dtype=np.float32).reshape(array.shape)
        total += array.size
    assert total < 2**24  # as far as float32 counts
    ours, unmapped = from_reference(spans)
    counted = [array.ravel() for name, array in ours.items() if not name.endswith("num_batches_tracked")]
    times = np.bincount(np.concatenate(counted).astype(np.int64), minlength=total)
    assert times.max() == 1
    used_of = {"alpha": 1, "beta": 1, "add_coeff": state["backbone.gcn.0.gcn.A"].shape[-1]}
    for name, span in spans.items():
        if name not in unmapped and not name.endswith("num_batches_tracked"):
            used = times[span.ravel().astype(np.int64)]
            np.testing.assert_array_equal(used, np.arange(span.size) < used_of.get(name.split(".")[-1], span.size))
