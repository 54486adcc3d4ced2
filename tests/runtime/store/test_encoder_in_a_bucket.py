"""The folder of a text encoder out of the object store."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from agent_helpers import Scene
from tiny_encoder import network, tokenizer

from components.agent.round import Round
from components.agent.rounds import make_round
from components.contracts import constraints
from components.contracts.errors import InputError
from components.runtime.store import store_for


def test_a_round_uses_the_encoder_in_a_bucket_as_it_does_the_folder(prefix: str, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    onnx.save(network(), folder / "model.onnx")
    tokenizer().save(str(folder / "tokenizer.json"))
    uri = f"{prefix}/encoder"
    for file in folder.iterdir():  # as any client of a bucket uploads a folder
        store_for(uri).publish(file, f"{uri}/{file.name}")
    for name, place in (("here", str(folder)), ("there", uri)):
        make_round(Round(Scene(tmp_path).stage(encoder=place)), tmp_path / name)
    here, there = (constraints.open(tmp_path / name) for name in ("here", "there"))
    assert here.encoder == there.encoder
    assert here.manifest.made_from["encoder"] == there.manifest.made_from["encoder"]
    assert here.text.tobytes() == there.text.tobytes()
    missing = Scene(tmp_path).stage(encoder=f"{prefix}/none")
    with pytest.raises(InputError, match=r"none: found no folder, tokenizer\.json and model\.onnx expected"):
        make_round(Round(missing), tmp_path / "never")
