"""Every artifact: it reads back what was written, damage is refused with one line, writing is all or nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_artifacts import EPOCH, EXPERIMENT, KINDS, MADE_FROM, Kind, made_metrics

from components.contracts import artifact, checkpoint, confusion, constraints, dataset, report, scores
from components.contracts.artifact import MANIFEST, Schema, digest, digest_of
from components.contracts.errors import InputError, ResourceError

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
every_file = pytest.mark.parametrize(
    ("kind", "file"),
    [pytest.param(kind, file, id=f"{kind.name}-{file}") for kind in KINDS for file in (*kind.files, MANIFEST)],
)


@pytest.fixture
def made(tmp_path: Path, kind: Kind) -> Path:
    path = tmp_path / kind.name
    kind.write(path)
    return path


def refusal(kind: Kind, path: Path) -> str:
    """Open and verify the artifact, both of which must be refused; return the message, one line."""
    with pytest.raises(InputError) as opened:
        kind.module.open(path)
    with pytest.raises(InputError) as verified:
        kind.module.verify(path)
    assert str(opened.value) == str(verified.value)
    assert "\n" not in str(opened.value)
    return str(opened.value)


def edit_manifest(path: Path, **changes: object) -> None:
    """Change entries of the manifest, with the digest of its content made right again."""
    document = json.loads((path / MANIFEST).read_text())
    document |= changes
    document.pop("sha256")
    document["sha256"] = digest_of(document)
    (path / MANIFEST).write_text(json.dumps(document))


class TestRoundTrip:
    def test_dataset(self, tmp_path: Path) -> None:
        KINDS[0].write(tmp_path / "d")
        opened = dataset.open(tmp_path / "d")
        assert len(opened) == 2
        assert opened.config == EXPERIMENT.data
        assert opened.sample_ids.tolist() == ["a", "ü"]
        assert opened.labels.tolist() == [0, 2]
        expected = np.random.default_rng(0)
        np.testing.assert_array_equal(opened.sample(0), expected.normal(size=(1, 4, 15, 3)).astype(np.float32))
        np.testing.assert_array_equal(opened.sample(1), expected.normal(size=(2, 3, 15, 3)).astype(np.float32))
        assert opened.split("train").tolist() == [0]
        assert opened.split("test").tolist() == [1]
        assert [(entry.position, entry.sample_id, entry.reason) for entry in opened.skipped] == [
            (1, "broken", "NaN in frame 3")
        ]
        assert isinstance(opened.keypoints, np.memmap)
        assert not opened.keypoints.flags.writeable

    def test_dataset_names_the_splits_it_has(self, tmp_path: Path) -> None:
        KINDS[0].write(tmp_path / "d")
        with pytest.raises(InputError, match=r"split: found 'val', expected one of test, train"):
            dataset.open(tmp_path / "d").split("val")

    def test_constraints(self, tmp_path: Path) -> None:
        KINDS[1].write(tmp_path / "c")
        opened = constraints.open(tmp_path / "c")
        assert (opened.layout, opened.round, opened.stream, opened.encoder) == ("sbu15", 1, "j", "encoder")
        assert [entry.name for entry in opened.classes] == ["kick", "pünch", "hug"]
        assert opened.classes[1].told_apart_from == (2,)
        assert opened.text.dtype == np.float32
        np.testing.assert_array_equal(opened.text, np.arange(12).reshape(3, 4))
        mask = opened.joint_mask()
        assert mask.shape == (3, 15)
        assert np.argwhere(mask).tolist() == [[0, 0], [0, 7], [1, 1], [1, 7], [2, 2], [2, 7]]

    def test_confusion(self, tmp_path: Path) -> None:
        KINDS[2].write(tmp_path / "c")
        opened = confusion.open(tmp_path / "c")
        assert (opened.stream, opened.round) == ("j", 1)
        np.testing.assert_array_equal(opened.train, np.arange(9).reshape(3, 3))
        np.testing.assert_array_equal(opened.validation, np.arange(9).reshape(3, 3)[::-1])
        assert opened.train.dtype == np.int64

    def test_checkpoint(self, tmp_path: Path) -> None:
        KINDS[3].write(tmp_path / "c")
        opened = checkpoint.open(tmp_path / "c")
        assert opened.state.history == (EPOCH,)
        assert (opened.state.epoch, opened.state.step) == (1, 9)
        assert opened.config == EXPERIMENT.stage_train("j")
        np.testing.assert_array_equal(opened.model["w"], np.arange(6).reshape(2, 3))
        assert opened.model["n"].shape == ()
        np.testing.assert_array_equal(opened.optimiser["w"], np.arange(6).reshape(2, 3) / 2)

    def test_scores(self, tmp_path: Path) -> None:
        KINDS[4].write(tmp_path / "s", 1)
        opened = scores.open(tmp_path / "s")
        assert (opened.stream, opened.round, opened.clips) == ("j", 1, 10)
        assert opened.sample_ids.tolist() == ["a", "ü"]
        assert opened.labels.tolist() == [0, 1]
        assert opened.probabilities.tolist() == [[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]
        assert opened.history == (EPOCH,)
        assert opened.held_out is None

    def test_scores_with_held_out_samples(self, tmp_path: Path) -> None:
        KINDS[4].write(tmp_path / "s")
        plain = scores.open(tmp_path / "s")
        apart = replace(plain, sample_ids=np.asarray(["h"]), labels=plain.labels[:1], history=())
        made = replace(plain, held_out=replace(apart, probabilities=plain.probabilities[1:]))
        scores.write(tmp_path / "h", made, made_from=MADE_FROM, config=EXPERIMENT.stage_train("j"))
        held_out = scores.open(tmp_path / "h").held_out
        assert held_out is not None
        assert (held_out.stream, held_out.sample_ids.tolist(), held_out.labels.tolist()) == ("j", ["h"], [0])
        assert held_out.probabilities.tolist() == [[0.125, 0.125, 0.75]]
        assert (tmp_path / "s/scores.npz").read_bytes() == (tmp_path / "h/scores.npz").read_bytes()

    def test_report(self, tmp_path: Path) -> None:
        KINDS[5].write(tmp_path / "r", 7)
        opened = report.open(tmp_path / "r")
        assert opened.html == "<!doctype html><title>é 7</title>"
        assert opened.metrics.description == "variant 7"

    @every_kind
    def test_manifest_says_what_it_was_made_from(self, made: Path, kind: Kind) -> None:
        manifest = kind.module.verify(made)
        assert manifest.made_from == MADE_FROM
        assert manifest.version == kind.module.SCHEMA.version
        assert sorted(manifest.files) == sorted(kind.files)
        assert manifest.config["data" if kind.name != "dataset" else "classes"]

    @every_kind
    def test_opened_artifact_carries_its_digest(self, made: Path, kind: Kind) -> None:
        assert kind.module.open(made).digest == digest(made)


class TestDamage:
    @every_file
    def test_a_flipped_byte_is_refused(self, made: Path, kind: Kind, file: str) -> None:
        intact = (made / file).read_bytes()
        for position in {0, len(intact) // 3, len(intact) // 2, len(intact) - 2}:
            damaged = bytearray(intact)
            damaged[position] ^= 0x01
            (made / file).write_bytes(damaged)
            assert file in refusal(kind, made)
        (made / file).write_bytes(intact)
        kind.module.open(made)

    @every_file
    def test_a_truncated_file_is_refused(self, made: Path, kind: Kind, file: str) -> None:
        intact = (made / file).read_bytes()
        for length in (0, len(intact) // 2, len(intact) - 1 if file != MANIFEST else len(intact) - 2):
            (made / file).write_bytes(intact[:length])
            assert file in refusal(kind, made)

    @every_file
    def test_a_missing_file_is_refused(self, made: Path, kind: Kind, file: str) -> None:
        (made / file).unlink()
        message = refusal(kind, made)
        assert file in message
        assert "missing" in message

    @every_kind
    def test_a_changed_manifest_entry_is_refused(self, made: Path, kind: Kind) -> None:
        text = (made / MANIFEST).read_text()
        (made / MANIFEST).write_text(text.replace("abab", "abac", 1))
        assert f"{MANIFEST}: damaged" in refusal(kind, made)

    @every_kind
    def test_a_directory_that_does_not_exist(self, tmp_path: Path, kind: Kind) -> None:
        assert refusal(kind, tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: {kind.name} artifact not found"

    @every_kind
    def test_another_kind_of_artifact(self, made: Path, kind: Kind) -> None:
        for other in KINDS:
            if other is not kind:
                message = refusal(other, made)
                assert message == f"{made}: expected a {other.name} artifact, found {kind.name!r}"

    @every_kind
    @pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"artifact": 3}', "\udcff"])
    def test_a_manifest_that_is_none(self, made: Path, kind: Kind, text: str) -> None:
        (made / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
        assert MANIFEST in refusal(kind, made)


class TestVersions:
    @every_kind
    def test_newer_major_is_refused_with_advice(self, made: Path, kind: Kind) -> None:
        edit_manifest(made, version="2.0")
        message = refusal(kind, made)
        assert "schema version 2.0, this program reads 1.x: update this program" in message

    @every_kind
    def test_newer_minor_with_unknown_fields_is_read(self, made: Path, kind: Kind) -> None:
        edit_manifest(made, version="1.7", something_new={"a": 1})
        kind.module.open(made)

    @every_kind
    def test_older_minor_is_read(self, made: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kind.module, "SCHEMA", Schema(kind.name, 1, 3))
        kind.module.open(made)

    @every_kind
    def test_older_major_is_refused_with_advice(self, made: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kind.module, "SCHEMA", Schema(kind.name, 2, 0))
        assert "run the stage that made it again" in refusal(kind, made)

    @every_kind
    @pytest.mark.parametrize("version", ["", "1", "one.two", "1.x", "-1.0"])
    def test_a_version_that_is_none(self, made: Path, kind: Kind, version: str) -> None:
        edit_manifest(made, version=version)
        assert "is not MAJOR.MINOR" in refusal(kind, made)


class TestWriting:
    @every_kind
    def test_same_content_gives_the_same_bytes(self, tmp_path: Path, kind: Kind) -> None:
        for name in ("one", "two"):
            kind.write(tmp_path / name)
        one, two = (
            {str(file.relative_to(tmp_path / name)): file.read_bytes() for file in (tmp_path / name).rglob("*.*")}
            for name in ("one", "two")
        )
        assert one == two
        assert set(one) == {*kind.files, MANIFEST}

    @every_kind
    def test_other_content_gives_another_digest(self, tmp_path: Path, kind: Kind) -> None:
        kind.write(tmp_path / "one")
        kind.write(tmp_path / "two", 1)
        assert digest(tmp_path / "one") != digest(tmp_path / "two")

    @every_kind
    def test_overwriting_replaces_the_whole_directory(self, made: Path, kind: Kind, tmp_path: Path) -> None:
        (made / "left over").write_text("from before")
        kind.write(made, 1)
        kind.write(tmp_path / "fresh", 1)
        assert digest(made) == digest(tmp_path / "fresh")
        assert {str(file.relative_to(made)) for file in made.rglob("*.*")} == {*kind.files, MANIFEST}
        assert {entry.name for entry in tmp_path.iterdir()} == {made.name, "fresh"}

    @every_kind
    def test_a_failure_while_writing_leaves_nothing(
        self, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(kind.module, "seal", fail)
        with pytest.raises((OSError, ResourceError), match="No space left"):
            kind.write(tmp_path / "target")
        assert list(tmp_path.iterdir()) == []

    @every_kind
    def test_a_failure_while_overwriting_leaves_the_old_one(
        self, made: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = digest(made)

        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(artifact, "sha256_file", fail)
        with pytest.raises((OSError, ResourceError), match="No space left"):
            kind.write(made, 1)
        monkeypatch.undo()
        kind.module.open(made)
        assert digest(made) == before
        assert [entry.name for entry in made.parent.iterdir()] == [made.name]

    def test_an_exception_between_two_samples_leaves_no_dataset(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ZeroDivisionError),
            dataset.Writer(tmp_path / "d", EXPERIMENT.data, MADE_FROM) as writer,
        ):
            writer.append("a", 0, np.zeros((1, 4, 15, 3)))
            raise ZeroDivisionError
        assert list(tmp_path.iterdir()) == []

    @every_kind
    def test_moved_and_copied_artifacts_stay_valid(self, made: Path, kind: Kind, tmp_path: Path) -> None:
        shutil.copytree(made, tmp_path / "deep" / "copy")
        assert kind.module.open(tmp_path / "deep" / "copy").digest == digest(made)


class TestContradictions:
    """What a writer refuses: content that no reader could make sense of."""

    def test_dataset_sample_of_another_layout(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ValueError, match="does not fit layout sbu15"),
            dataset.Writer(tmp_path / "d", EXPERIMENT.data, MADE_FROM) as writer,
        ):
            writer.append("a", 0, np.zeros((1, 4, 25, 3)))
        assert list(tmp_path.iterdir()) == []

    def test_dataset_without_samples_can_be_read(self, tmp_path: Path) -> None:
        with dataset.Writer(tmp_path / "d", EXPERIMENT.data, MADE_FROM) as writer:
            writer.skip(0, "a", "empty")
            writer.splits({"train": ["a"]})
        opened = dataset.open(tmp_path / "d")
        assert len(opened) == 0
        with pytest.raises(InputError, match=r"split 'train' holds no packed sample"):
            opened.split("train")

    def test_constraints_with_a_joint_that_is_none(self, tmp_path: Path) -> None:
        KINDS[1].write(tmp_path / "c")
        told = constraints.open(tmp_path / "c")
        for joints, message in (((15,), "numbers 0 to 14 expected"), ((-1,), "numbers 0 to 14"), ((3, 3), "twice")):
            classes = (told.classes[0].model_copy(update={"joints": joints}), *told.classes[1:])
            bad = constraints.Constraints("sbu15", 1, "j", "encoder", classes, told.text)
            with pytest.raises(InputError, match=message):
                constraints.write(tmp_path / "bad", bad, made_from={}, config=EXPERIMENT.stage_agent())

    def test_scores_with_nan_or_impossible_labels(self, tmp_path: Path) -> None:
        ids, stage = np.asarray(["a"]), EXPERIMENT.stage_train("j")
        good, bad = np.full((1, 3), 0.25, dtype=np.float32), np.full((1, 3), np.nan, dtype=np.float32)
        for labels, values, message in (([0], bad, "NaN or infinity"), ([3], good, "0 to 2"), ([-1], good, "0 to 2")):
            made = scores.Scores("j", 1, 1, ids, np.asarray(labels), values)
            with pytest.raises(InputError, match=message):
                scores.write(tmp_path / "s", made, made_from={}, config=stage)

    def test_held_out_scores_of_other_classes(self, tmp_path: Path) -> None:
        KINDS[4].write(tmp_path / "s")
        opened = scores.open(tmp_path / "s")
        bad = replace(opened, held_out=replace(opened, probabilities=opened.probabilities[:, :2]))
        with pytest.raises(InputError, match=r"held_out\.npz: probabilities: shape 2×2 found, any×3 expected"):
            scores.write(tmp_path / "h", bad, made_from={}, config=EXPERIMENT.stage_train("j"))

    def test_confusion_that_is_not_square_or_negative(self, tmp_path: Path) -> None:
        good = np.ones((3, 3), dtype=np.int64)
        for counts, message in ((np.ones((3, 2), dtype=np.int64), "shape 3×2"), (-good, "negative")):
            made = confusion.Confusion("j", 1, good, counts)
            with pytest.raises(InputError, match=message):
                confusion.write(tmp_path / "c", made, made_from={}, config=EXPERIMENT.stage_train("j"))

    def test_report_with_nan(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="finite number"):
            made_metrics(top1=float("nan"))
        headline = made_metrics().headline.model_copy(update={"top1": float("nan")})
        page = report.Report("", made_metrics().model_copy(update={"headline": headline}))
        with pytest.raises(ValueError, match="not JSON compliant"):
            report.write(tmp_path / "r", page, made_from={}, config=EXPERIMENT.stage_evaluate())
        assert list(tmp_path.iterdir()) == []
