"""Weights of the text encoder out of the object store."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from components.contracts.errors import InputError
from components.runtime.store import store_for


@pytest.mark.skipif(find_spec("open_clip") is None, reason="package open-clip-torch (extra clip) is not installed")
def test_weights_in_a_bucket_encode_as_the_file_does(prefix: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from components.agent.text.clip import ClipEncoder, TextTower, tower_shape

    torch.manual_seed(2)
    model = "ViT-S-32-alt"
    tower = TextTower(tower_shape(model))
    for parameter in (tower.positional_embedding, tower.text_projection):
        torch.nn.init.normal_(parameter, std=0.1)
    inverse = (("layers", "resblocks"), ("self_attn", "attn"), ("norm", "ln_"), ("linear1", "mlp.c_fc"))
    state = {}
    for name, tensor in tower.state_dict().items():
        for ours, theirs in (*inverse, ("linear2", "mlp.c_proj")):
            name = name.replace(f".{ours}", f".{theirs}")
        state[name] = tensor.contiguous()
    save_file(state, tmp_path / "w.safetensors")
    uri = f"{prefix}/w.safetensors"
    store_for(uri).publish(tmp_path / "w.safetensors", uri)
    here, there = ClipEncoder(model, str(tmp_path / "w.safetensors")), ClipEncoder(model, uri)
    assert here.name == there.name
    assert here.encode(["a wave"]).tobytes() == there.encode(["a wave"]).tobytes()
    with pytest.raises(InputError, match=r"none\.safetensors"):
        ClipEncoder(model, f"{prefix}/none.safetensors")
