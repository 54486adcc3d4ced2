"""A text encoder in a folder: tiny real networks, written here as exporters write them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from agent_helpers import Scene
from onnx import TensorProto
from tiny_encoder import TABLE, network, tokenizer
from torch import Tensor, nn

from components.agent.core import run_round
from components.agent.round import Round
from components.agent.rounds import make_round
from components.agent.text.folder import open_folder
from components.contracts import constraints
from components.contracts.errors import InputError

Maker = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Maker:
    def make(model: onnx.ModelProto | None = None, *, at: str = "model.onnx", **files: dict[str, Any]) -> Path:
        root = tmp_path / "encoder"
        (root / at).parent.mkdir(parents=True)
        onnx.save(model or network(), root / at)
        tokenizer().save(str(root / "tokenizer.json"))
        for name, document in files.items():
            file = root / f"{name.replace('__', '/')}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(document))
        return root

    return make


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


class TestPooling:
    def test_the_mean_over_the_tokens_is_the_default(self, folder: Maker) -> None:
        encoder = open_folder(folder(), "runs/my-encoder")
        found = encoder.encode(["arm moves"])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0], unit(TABLE[[1, 4, 5, 2]].mean(axis=0)), atol=1e-6)
        assert encoder.name == f"my-encoder {encoder.sha256[:16]}"

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            ("pooling_mode_cls_token", TABLE[1]),
            ("pooling_mode_max_tokens", TABLE[[1, 4, 2]].max(axis=0)),
            ("pooling_mode_lasttoken", TABLE[2]),
        ],
    )
    def test_another_one_is_what_the_folder_says(self, folder: Maker, mode: str, expected: np.ndarray) -> None:
        settings = {"word_embedding_dimension": 6, "pooling_mode_mean_tokens": False, mode: True}
        root = folder(at="onnx/model.onnx", **{"1_Pooling__config": settings})
        np.testing.assert_allclose(open_folder(root, "e").encode(["arm"])[0], unit(expected), atol=1e-6)

    @pytest.mark.parametrize(
        ("outputs", "config", "own"),
        [
            (("text_embeds", "last_hidden_state"), {}, True),
            (("sentence_embedding", "token_embeddings"), {}, True),
            (("last_hidden_state", "pooler_output"), {"model_type": "bert"}, False),
            (("last_hidden_state", "pooler_output"), {"model_type": "clip_text_model"}, True),
            (("output",), {}, True),
        ],
    )
    def test_the_networks_own_goes_first_where_it_is_one(
        self, folder: Maker, outputs: tuple[str, ...], config: dict[str, Any], own: bool
    ) -> None:
        found = open_folder(folder(network(outputs), config=config), "e").encode(["arm"])[0]
        np.testing.assert_allclose(found, unit(TABLE[2] if own else TABLE[[1, 4, 2]].mean(axis=0)), atol=1e-6)

    def test_an_unknown_one_is_refused(self, folder: Maker) -> None:
        root = folder(**{"1_Pooling__config": {"pooling_mode_weightedmean_tokens": True}})
        with pytest.raises(InputError, match=r"1_Pooling/config\.json: found pooling_mode_weightedmean_tokens"):
            open_folder(root, "e")


class TestLength:
    @pytest.mark.parametrize(
        "files",
        [
            {"sentence_bert_config": {"max_seq_length": 4}, "config": {"max_position_embeddings": 9}},
            {"tokenizer_config": {"model_max_length": 4}},
            {
                "tokenizer_config": {"model_max_length": 10**30},
                "config": {"text_config": {"max_position_embeddings": 4}},
            },
        ],
    )
    def test_what_exceeds_it_is_cut_with_a_warning(
        self, folder: Maker, files: dict[str, Any], log_lines: list[Any]
    ) -> None:
        encoder = open_folder(folder(**files), "e")
        vectors = encoder.encode(["arm moves up down", "arm moves"])
        assert vectors[0].tobytes() == vectors[1].tobytes()
        assert "1 of 2 descriptions exceed 4 tokens" in log_lines[-1].getMessage()

    def test_a_network_of_one_length_gets_it_and_padding_says_nothing(self, folder: Maker) -> None:
        root = folder(network(length=7, kind=TensorProto.INT32))
        np.testing.assert_allclose(
            open_folder(root, "e").encode(["arm"])[0], unit(TABLE[[1, 4, 2]].mean(axis=0)), atol=1e-6
        )


class Tower(nn.Module):
    """CLIP's text tower (Radford et al., 2021) of the reference's size: causal, projected where the text ends."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(600, 64)
        self.positional_embedding = nn.Parameter(torch.empty(77, 64))
        block = nn.TransformerEncoderLayer(
            64,
            1,
            256,
            dropout=0.0,
            activation=lambda x: x * torch.sigmoid(1.702 * x),
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.ln_final = nn.LayerNorm(64)
        self.text_projection = nn.Parameter(torch.empty(64, 32))

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.token_embedding(input_ids) + self.positional_embedding
        x = self.transformer(x, mask=torch.full((77, 77), float("-inf")).triu(1))
        end = x[torch.arange(1), input_ids.argmax(dim=-1)]
        return self.ln_final(end) @ self.text_projection


def golden_weights(golden: Any) -> dict[str, Tensor]:
    renamed = (("resblocks", "layers"), (".attn.", ".self_attn."), ("ln_1", "norm1"), ("ln_2", "norm2"))
    state = {}
    for name in golden.files:
        if name.startswith("sd.") and name != "sd.logit_scale":
            ours = name.removeprefix("sd.")
            for theirs, own in (*renamed, ("mlp.c_fc", "linear1"), ("mlp.c_proj", "linear2")):
                ours = ours.replace(theirs, own)
            state[ours] = torch.from_numpy(golden[name])
    return state


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
def test_a_clip_text_tower_gives_the_references_embeddings(golden_dir: Path, tmp_path: Path) -> None:
    """The words of this tokeniser are the numbers of the golden tokens; it pads to 77, as CLIP's does."""
    golden = np.load(golden_dir / "f_clip_text_small.npz", allow_pickle=False)
    tower = Tower().eval()
    tower.load_state_dict(golden_weights(golden))
    example = (torch.from_numpy(golden["tokens"][:1]).long(),)
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operation, which ONNX has not
    torch.onnx.export(
        tower, example, tmp_path / "model.onnx", dynamo=False, input_names=["input_ids"], output_names=["text_embeds"]
    )
    torch.backends.mha.set_fastpath_enabled(True)
    numbers = tokenizer(tuple(str(number) for number in range(600)), ends=False)
    numbers.enable_truncation(77)
    numbers.enable_padding(length=77, pad_token="0")
    numbers.save(str(tmp_path / "tokenizer.json"))
    sentences = [" ".join(str(token) for token in row[: row.argmax() + 1]) for row in golden["tokens"]]
    found = open_folder(tmp_path, "clip").encode(sentences)
    expected = golden["embedding"] / np.linalg.norm(golden["embedding"], axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class TestRounds:
    def test_a_round_carries_the_encoders_dimensions_and_its_digest(self, folder: Maker, tmp_path: Path) -> None:
        root = folder()
        stage = Scene(tmp_path).stage(encoder=str(root))
        make_round(Round(stage), tmp_path / "constraints")
        found = constraints.open(tmp_path / "constraints")
        encoder = open_folder(root, str(root))
        assert found.text.shape == (10, 6)
        assert found.encoder == encoder.name
        assert found.manifest.made_from["encoder"] == encoder.sha256
        (root / "tokenizer.json").write_text((root / "tokenizer.json").read_text() + "\n")
        assert open_folder(root, "e").sha256 != encoder.sha256

    def test_the_core_takes_paths_only(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"agent\.encoder: 's3://b/e' is not at hand"):
            run_round(Round(Scene(tmp_path).stage(encoder="s3://b/e")), tmp_path / "constraints")

    def test_torch_is_never_loaded(self) -> None:
        program = "import sys, components.agent.__main__; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestMistakes:
    def refused(self, root: Path, message: str) -> None:
        with pytest.raises(InputError, match=message) as error:
            open_folder(root, "e")
        assert "\n" not in str(error.value)

    def test_of_files(self, folder: Maker, tmp_path: Path) -> None:
        self.refused(tmp_path / "nowhere", r"nowhere: found no folder, tokenizer\.json and model\.onnx expected")
        root = folder()
        whole = shutil.copytree(root, tmp_path / "whole")
        (root / "model.onnx").write_bytes(b"neither" * 9)
        self.refused(root, r"model\.onnx: ONNX Runtime cannot load it: ")
        (root / "model.onnx").unlink()
        self.refused(root, r"found tokenizer\.json, tokenizer\.json and model\.onnx expected")
        (whole / "tokenizer.json").write_text("{}")
        self.refused(whole, r"tokenizer\.json: not a tokenizer\.json of the library tokenizers")
        (whole / "config.json").write_text("[" * 100_000)
        tokenizer().save(str(whole / "tokenizer.json"))
        self.refused(whole, r"config\.json: not JSON")

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (
                network(inputs=("input_ids", "pixel_values")),
                r"input pixel_values \(tensor\(int64\)\) found, .* exported",
            ),
            (
                network(("logits_per_text", "logits_per_image")),
                "outputs logits_per_text, logits_per_image found, one of",
            ),
        ],
    )
    def test_of_networks(self, folder: Maker, model: onnx.ModelProto, message: str) -> None:
        self.refused(folder(model), message)

    def test_of_numbers(self, folder: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tiny_encoder.TABLE", np.full_like(TABLE, np.nan))
        self.refused(folder(), "no direction")
