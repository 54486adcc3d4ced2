"""Persons who change places are what normalisation would have made of a file with the second person first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.config import Augmentation
from components.contracts.data_config import DataConfig
from components.contracts.skeleton import load_layout
from components.preprocess.normalise import normalise
from components.preprocess.readers.samples import Sample
from components.train.clips.augment import draw
from components.train.clips.persons import Exchange

LAYOUT = load_layout("sbu15")
BOTH = torch.tensor([True])


def config(**data: object) -> DataConfig:
    made = {"layout": "sbu15", "classes": ["a", "b"], "max_persons": 2, "align": "-y"}
    protocol = {"protocols": {"all": {"train": "train", "test": "test"}}, "protocol": "all"}
    return DataConfig.model_validate(made | protocol | data)


def two_bodies(seed: int) -> np.ndarray:
    """Two persons anywhere, ``[2, T, V, 3]``: walking, turned, a few joints missing."""
    generator = np.random.default_rng(seed)
    rest = generator.normal(size=(2, 1, len(LAYOUT.joints), 3)) * 0.4
    way = generator.normal(size=(2, 12, 1, 3)).cumsum(axis=1) * 0.05 + generator.normal(size=(2, 1, 1, 3)) * 2
    body = rest + way + generator.normal(size=(2, 12, len(LAYOUT.joints), 3)) * 0.02
    missing = generator.random(body.shape[:3]) < 0.05
    missing[:, :, LAYOUT.number(LAYOUT.centre)] = False
    body[missing] = 0
    return body


def stored(body: np.ndarray, data: DataConfig) -> torch.Tensor:
    return torch.from_numpy(normalise(Sample(0, "a", 0, body), data))[None]


@given(st.integers(0, 10_000), st.sampled_from(["-y", "+z", False]), st.sampled_from(["body", "none"]))
def test_the_second_person_first_as_if_the_file_had_them_so(seed: int, align: str | bool, normalisation: str) -> None:
    data, body = config(align=align, normalisation=normalisation), two_bodies(seed)
    clips = stored(body, data)
    exchanged = Exchange.of(clips, LAYOUT, data, BOTH).apply(clips)
    np.testing.assert_allclose(exchanged, stored(body[::-1], data), atol=2e-5)


def test_only_clips_that_both_persons_are_in_all_along_and_that_were_drawn() -> None:
    data = config()
    clips = torch.cat([stored(two_bodies(seed), data) for seed in range(4)])
    clips[1, 1] = 0  # alone
    clips[2, 1, 3] = 0  # not there for a moment
    wanted = torch.tensor([True, True, True, False])
    exchanged = Exchange.of(clips, LAYOUT, data, wanted).apply(clips)
    assert [bool((a != b).any()) for a, b in zip(exchanged, clips, strict=True)] == [True, False, False, False]


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_as_often_as_it_is_wanted(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = draw(4000, LAYOUT, Augmentation(person_swap=share), generator, three_d=True).exchanged
    assert drawn is not None
    assert float(drawn.float().mean()) == pytest.approx(share, abs=0.03)
