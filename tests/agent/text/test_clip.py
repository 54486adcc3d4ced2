"""CLIP text towers: the real vocabulary, the reference's numbers, and weights by path (random ones, written here)."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from agent_helpers import Scene
from safetensors.torch import save_file

import components.agent.text.packaged as packaged
from components.agent.core import run_round
from components.agent.offline.priors import load_priors, prior_names
from components.agent.round import Round
from components.agent.service.intake import check_endpoint
from components.agent.text.clip import ClipEncoder, TextTower, TowerShape, read_tower, tower_shape
from components.agent.text.clip_tokens import ClipTokens
from components.agent.text.encoder import load_encoder
from components.agent.text.packaged import package_file
from components.contracts import constraints
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError

pytestmark = pytest.mark.skipif(
    find_spec("open_clip") is None, reason="package open-clip-torch (extra clip) is not installed"
)
MODEL = "ViT-S-32-alt"
SENTENCE = "One hand swings from side to side above the head."


@pytest.fixture(scope="module")
def tokens() -> ClipTokens:
    return ClipTokens(package_file("open_clip", "bpe_simple_vocab_16e6.txt.gz", "open-clip-torch"))


def as_clip(tower: TextTower, prefix: str = "") -> dict[str, torch.Tensor]:
    """The weights of a tower under CLIP's own names, with one of the other tower as in every real file."""
    renamed = {"visual.conv1.weight": torch.zeros(2)}
    for name, tensor in tower.state_dict().items():
        clips = name.replace("transformer.layers", "transformer.resblocks").replace("self_attn", "attn")
        for ours, theirs in (("norm", "ln_"), ("linear1", "mlp.c_fc"), ("linear2", "mlp.c_proj")):
            clips = clips.replace(f".{ours}", f".{theirs}")
        renamed[prefix + clips] = tensor.contiguous()
    return renamed


@pytest.fixture(scope="module")
def tower() -> TextTower:
    torch.manual_seed(5)
    made = TextTower(tower_shape(MODEL))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.eval()


@pytest.fixture(scope="module")
def weights(tower: TextTower, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "weights.safetensors"
    save_file(as_clip(tower), path)
    return path


class TestReference:
    def test_tokens_of_all_its_sentences(self, tokens: ClipTokens, golden_dir: Path) -> None:
        """Its sentences are not among the golden data, but their tokens are: read back, they give the same tokens."""
        golden = np.load(golden_dir / "f_tokens.npz", allow_pickle=False)
        rows = [row[: row.argmax() + 1].tolist() for name in golden.files for row in golden[name]]
        assert len(rows) == 834
        sentences = [tokens.decode(row) for row in rows]
        assert sum(" the " in sentence for sentence in sentences) > 400  # English came out
        assert [tokens.encode(sentence, 77) for sentence in sentences] == rows

    def test_embeddings_of_its_small_tower(self, golden_dir: Path, tmp_path: Path) -> None:
        golden = np.load(golden_dir / "f_clip_text_small.npz", allow_pickle=False)
        shape = TowerShape(embed_dim=32, width=64, heads=1, layers=2, vocab_size=600, quick_gelu=True)
        tower = TextTower(shape).eval()
        state = {name.removeprefix("sd."): torch.from_numpy(golden[name]) for name in golden.files if "sd." in name}
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "w.safetensors")
        tower.load_state_dict(read_tower(tmp_path / "w.safetensors", "w", "m", tower))
        with torch.inference_mode():
            found = [tower(torch.from_numpy(row[: row.argmax() + 1]).long()).numpy() for row in golden["tokens"]]
        np.testing.assert_allclose(found, golden["embedding"], rtol=1e-4, atol=1e-5)


class TestTokens:
    def test_are_those_of_the_published_model(self, tokens: ClipTokens) -> None:
        """Known from the model's documentation."""
        assert tokens.encode("a photo of a cat", 77) == [49406, 320, 1125, 539, 320, 2368, 49407]
        assert tokens.encode("  A Photo\nof a CAT ", 77) == tokens.encode("a photo of a cat", 77)

    def test_long_sentences_keep_their_end(self, tokens: ClipTokens) -> None:
        cut = tokens.encode("arm " * 100, 77)
        assert len(cut) == 77
        assert (cut[0], cut[-1]) == (49406, 49407)
        assert tokens.exceeds("arm " * 76, 77) and not tokens.exceeds("arm " * 75, 77)

    @pytest.mark.parametrize("name", prior_names())
    def test_no_written_prior_is_cut(self, tokens: ClipTokens, name: str) -> None:
        priors = (load_priors(name).by_name or {}).values()
        assert not [prior.name for prior in priors if tokens.exceeds(prior.description, 77)]


class TestWeights:
    def test_safetensors_and_state_dicts_give_the_same(self, tower: TextTower, weights: Path, tmp_path: Path) -> None:
        plain = ClipEncoder(MODEL, str(weights))
        vectors = plain.encode([SENTENCE, "x"])
        assert vectors.shape == (2, 256) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert not np.allclose(vectors[0], vectors[1])
        assert plain.name.startswith(f"clip {MODEL} ")
        torch.save({"epoch": 3, "state_dict": as_clip(tower, "module.")}, tmp_path / "w.pt")
        assert ClipEncoder(MODEL, str(tmp_path / "w.pt")).encode([SENTENCE]).tobytes() == vectors[:1].tobytes()

    def test_long_sentences_are_cut_with_a_warning(self, weights: Path, caplog: pytest.LogCaptureFixture) -> None:
        encoder = ClipEncoder(MODEL, str(weights))
        with caplog.at_level("WARNING"):
            vectors = encoder.encode(["arm " * 75, "arm " * 75 + "kicks"])
        assert vectors[0].tobytes() == vectors[1].tobytes()
        assert "1 of 2 descriptions exceed 77 tokens" in caplog.text

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"text_projection": None}, "text_projection is missing: not the text weights of ViT-S-32-alt"),
            (
                {"text_projection": torch.zeros(256, 9)},
                r"text_projection: shape \[256, 9\] found, \[256, 256\] expected",
            ),
            ({"ln_final.bias": torch.full((256,), torch.nan)}, r"ln_final\.bias: NaN or infinity found"),
        ],
    )
    def test_wrong_tensors(
        self, tower: TextTower, tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
    ) -> None:
        changed = {**as_clip(tower), **change}
        save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, tmp_path / "w.safetensors")
        with pytest.raises(InputError, match=message):
            ClipEncoder(MODEL, str(tmp_path / "w.safetensors"))

    def test_wrong_files(self, tmp_path: Path) -> None:
        for name, message in (("w.safetensors", "not a safetensors file"), ("w.pt", "not a PyTorch file of tensors")):
            (tmp_path / name).write_bytes(b"neither" * 9)
            with pytest.raises(InputError, match=message):
                ClipEncoder(MODEL, str(tmp_path / name))
        with pytest.raises(InputError, match="no such file"):
            ClipEncoder(MODEL, str(tmp_path / "none.pt"))

    def test_code_in_a_file_is_never_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (tmp_path / "touched",)

        torch.save({"x": Evil()}, tmp_path / "w.pt")
        with pytest.raises(InputError, match="not a PyTorch file of tensors only"):
            ClipEncoder(MODEL, str(tmp_path / "w.pt"))
        assert not (tmp_path / "touched").exists()


class TestChoice:
    def test_a_round_carries_the_encoders_dimensions(self, weights: Path, tmp_path: Path) -> None:
        stage = Scene(tmp_path).stage(encoder="clip", clip_model=MODEL, clip_weights=str(weights))
        run_round(Round(stage), tmp_path / "constraints")
        found = constraints.open(tmp_path / "constraints")
        assert found.text.shape == (10, 256)
        assert found.encoder == load_encoder(stage.agent).name
        assert constraints.verify(tmp_path / "constraints").about["text_dimensions"] == 256

    def test_mistakes_are_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match="encoder: 'clip' needs clip_weights"):
            AgentConfig(encoder="clip")
        with pytest.raises(InputError, match=r"agent\.clip_model: found 'ViT', expected one of .*ViT-B-16, "):
            load_encoder(AgentConfig(encoder="clip", clip_model="ViT", clip_weights="w"))
        monkeypatch.setattr(packaged, "find_spec", lambda name: None)
        with pytest.raises(InputError, match="of package open-clip-torch not found: install the package"):
            load_encoder(AgentConfig(encoder="clip", clip_weights="w"))
        monkeypatch.setitem(sys.modules, "components.agent.text.clip", None)
        with pytest.raises(InputError, match=r"agent\.encoder: 'clip' needs the package"):
            load_encoder(AgentConfig(encoder="clip", clip_weights="w"))

    def test_a_service_opens_no_file_of_its_machine_for_a_client(self) -> None:
        with pytest.raises(InputError, match=r"agent\.clip_weights: found '/etc/passwd'; a service takes s3://"):
            check_endpoint(AgentConfig(encoder="clip", clip_weights="/etc/passwd"), ())
        check_endpoint(AgentConfig(encoder="clip", clip_weights="s3://bucket/w.pt"), ())

    def test_torch_is_not_loaded_unless_it_is_chosen(self) -> None:
        program = "import sys, components.agent.__main__; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
