"""The synthetic demo: reproducible, valid for its configuration, and neither trivial nor hopeless."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from components.contracts import dataset
from components.contracts.config import Experiment, load_experiment
from components.preprocess.core import preprocess
from pipelines.demo import CLASSES, TEST_SUBJECTS, TRAIN_SUBJECTS, write_demo


@pytest.fixture(scope="module")
def experiment(repository: Path) -> Experiment:
    return load_experiment(repository / "pipelines" / "configs" / "demo.yaml")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, experiment: Experiment) -> dataset.Dataset:
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder / "demo.pkl")
    preprocess(folder / "demo.pkl", experiment.data, folder / "dataset")
    return dataset.open(folder / "dataset")


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        write_demo(tmp_path / name, seed)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def test_the_configuration_fits(packed: dataset.Dataset, experiment: Experiment) -> None:
    assert experiment.data.classes == CLASSES
    assert not packed.skipped
    assert set(packed.persons.tolist()) == {1} and packed.frames.min() >= 30 and packed.frames.max() <= 60
    chosen = experiment.data.chosen
    counts = [np.bincount(packed.labels[packed.split(name)]) for name in (chosen.train, chosen.test)]
    assert all(len(set(count.tolist())) == 1 and len(count) == len(CLASSES) for count in counts)


def test_no_subject_is_in_both_splits(packed: dataset.Dataset, experiment: Experiment) -> None:
    chosen = experiment.data.chosen
    subjects = [{str(packed.sample_ids[n]).split("_")[2] for n in packed.split(s)} for s in (chosen.train, chosen.test)]
    assert not subjects[0] & subjects[1]
    assert [len(group) for group in subjects] == [TRAIN_SUBJECTS, TEST_SUBJECTS]


def test_bones_keep_their_length_but_for_the_noise(packed: dataset.Dataset) -> None:
    child, parent = packed.layout.number("left_knee"), packed.layout.number("left_hip")
    for number in range(0, len(packed), 25):
        length = np.linalg.norm(packed.sample(number)[0, :, child] - packed.sample(number)[0, :, parent], axis=-1)
        assert 0.3 < length.mean() < 0.5 and length.std() < 0.03


def _flat(packed: dataset.Dataset, number: int, frames: int = 16) -> npt.NDArray[np.float32]:
    points = packed.sample(number)[0]
    picked: npt.NDArray[np.float32] = points[np.linspace(0, len(points) - 1, frames).round().astype(int)].ravel()
    return picked


def test_neither_trivial_nor_hopeless(packed: dataset.Dataset, experiment: Experiment) -> None:
    train, test = packed.split(experiment.data.chosen.train), packed.split(experiment.data.chosen.test)
    known, asked = (np.stack([_flat(packed, number) for number in numbers]) for numbers in (train, test))
    nearest = ((asked[:, None] - known[None]) ** 2).sum(axis=2).argmin(axis=1)
    accuracy = float((packed.labels[train][nearest] == packed.labels[test]).mean())
    assert 0.5 < accuracy < 0.95
