"""The stage ``preprocess``: a file of skeletons becomes a packed, checked and normalised ``dataset`` artifact."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

from components.contracts.config import DataConfig
from components.contracts.dataset import Writer
from components.contracts.errors import InputError
from components.preprocess.inspect.doubts import recorded, stop, weighed
from components.preprocess.inspect.gap_notes import totals
from components.preprocess.inspect.ids import loose_matches
from components.preprocess.inspect.survey import Survey
from components.preprocess.packing import Prepared, prepared
from components.preprocess.readers.choose import open_source
from components.preprocess.readers.files import digest
from components.preprocess.readers.samples import Source
from components.preprocess.splitting import made_names, made_splits, without_leaks
from components.runtime.logs import stage_logger
from components.runtime.progress import progress

NOT_ANNOTATED = -1
"""The position of a skipped sample that a split names and the annotations do not hold."""

_log = stage_logger("preprocess")


def preprocess(
    source: Path,
    config: DataConfig,
    output: Path,
    *,
    expected_sha256: str | None = None,
    processes: int | None = None,
) -> None:
    """Pack every usable sample of an input and list every other one with its reason.

    Samples keep the order of the source (see its reader); equal inputs give equal bytes. In the manifest's ``about``:
    ``leaks``: per protocol, how many test samples are byte-equal to a training sample; ``doubts``: what is doubtful
    about the data, ``{code, severity, text, remedy}`` each (see ``inspect.doubts``); ``lost``: frames that show nobody
    or were left out, and joints that were interpolated, in all and per class (see ``inspect.gap_notes``).

    Args:
        source: a pickle, folder or archive, see ``readers``.
        config: what the input holds and how to normalise it.
        output: the directory of the ``dataset`` artifact.
        expected_sha256: refuse the source unless it has this SHA-256 (hex; of a folder: see ``files.digest``).
        processes: how many pack samples; None: see ``packing.prepared``.

    Raises:
        InputError: the source as a whole cannot be used, a split of a protocol keeps no sample, or results would be
            meaningless and ``config.accept`` does not say that this is known. Nothing is written then.
    """
    sha256 = _checked_digest(source, expected_sha256)
    opened, besides = open_source(source, config, config.format)
    made_from = {"source": sha256, **{role: digest(path) for role, path in besides.items()}}
    _check_splits(source, opened, config)
    declared = _without_repeats(opened)
    with Writer(output, config, made_from=made_from) as writer:
        packing = _Packing(writer, config)
        records = prepared(opened, config, processes)
        with closing(records), progress("packing samples", opened.expected, _log) as report:
            for done, record in enumerate(records, start=1):
                packing.take(record)
                report(done)
        splits = packing.splits(declared, opened)
        packing.list_missing(splits)
        packing.judge(source, splits)
        writer.splits(splits)
    if packing.reasons:
        (reason, count), total = packing.reasons.most_common(1)[0], packing.reasons.total()
        _log.warning("%d samples skipped, see skipped.jsonl; most often (%d): %s", total, count, reason)


def _checked_digest(source: Path, expected: str | None) -> str:
    if not source.exists():
        raise InputError("no such file", at=source)
    found = digest(source)
    if expected is not None and found != expected.lower():
        raise InputError(f"SHA-256 {found} found, {expected.lower()} expected", at=source)
    return found


def _check_splits(source: Path, opened: Source, config: DataConfig) -> None:
    made = made_names(config.splits)
    _check_made(source, opened, config)
    for name, protocol in config.protocols.items():
        for split in (protocol.train, protocol.test):
            if split not in opened.splits and split not in made:
                known = ", ".join(sorted([*opened.splits, *made])) or "none"
                raise InputError(
                    f"split: {split!r} of protocol {name!r} is missing; found {known} (data.splits makes some)",
                    at=source,
                )


def _check_made(source: Path, opened: Source, config: DataConfig) -> None:
    if config.format == "clips":
        return
    usable = {*opened.splits, *made_names(name for name, how in config.splits.items() if how.of is None)}
    for name, how in config.splits.items():
        if taken := sorted(opened.splits.keys() & made_names([name])):
            text = f"data.splits.{name}: makes split {taken[0]!r}, which the input has too; give it another name"
            raise InputError(text, at=source)
        if unknown := sorted(set(how.of or ()) - usable):
            known = ", ".join(sorted(usable)) or "none"
            raise InputError(f"data.splits.{name}.of: split {unknown[0]!r} is missing; found {known}", at=source)


def _without_repeats(source: Source) -> dict[str, list[str]]:
    splits = {name: list(dict.fromkeys(ids)) for name, ids in source.splits.items()}
    for name, ids in source.splits.items():
        if len(ids) > len(splits[name]):
            _log.warning(
                "split %s names %d samples more than once; each counts once", name, len(ids) - len(splits[name])
            )
    return splits


class _Packing:
    """Sends each record to the writer, packed or skipped, and remembers what the checks at the end need."""

    def __init__(self, writer: Writer, config: DataConfig) -> None:
        self._writer = writer
        self._config = config
        self._seen: dict[str, int] = {}
        self._fingerprints: dict[str, bytes] = {}
        self._survey = Survey()
        self.reasons: Counter[str] = Counter()
        self._refused: list[str] = []

    def take(self, record: Prepared) -> None:
        """Pack a record, or skip it if there is a reason to, or its id came before."""
        reason = self._repeated(record) or record.reason
        if record.label is not None:
            self._survey.labels[record.label] += 1
        if reason or record.keypoints is None or record.label is None or record.lost is None:
            self._skip(record.position, record.sample_id, reason)
            return
        lost = record.lost
        self._writer.append(
            record.sample_id, record.label, record.keypoints, record.width, empty=lost.empty, filled=lost.filled
        )
        self._fingerprints[record.sample_id] = record.fingerprint
        self._survey.packed[record.sample_id] = record.label
        self._survey.lost[record.sample_id] = lost
        if record.seen is not None:
            self._survey.glimpses.append(record.seen)

    def _repeated(self, record: Prepared) -> str:
        first = self._seen.setdefault(record.sample_id, record.position) if record.sample_id else record.position
        return "" if first == record.position else f"id: stands already at position {first}"

    def splits(self, declared: dict[str, list[str]], source: Source) -> dict[str, list[str]]:
        """Return the splits of the input, ids matched as configured, and those that the configuration makes.

        Clips without labels are in all splits as they are.
        """
        splits = dict(declared)
        if self._config.format == "clips":
            return splits
        if self._config.match_ids == "loose":
            for name, ids in declared.items():
                same = loose_matches(ids, self._seen)
                splits[name] = list(dict.fromkeys(same.get(sample_id, sample_id) for sample_id in ids))
        packed, subjects = self._survey.packed, source.subjects
        return {**splits, **made_splits(self._config, splits, packed, subjects, self._fingerprints)}

    def list_missing(self, splits: dict[str, list[str]]) -> None:
        """Skip the ids that splits name and no record has."""
        missing: dict[str, list[str]] = {}
        for name, ids in splits.items():
            for sample_id in ids:
                if sample_id not in self._seen:
                    missing.setdefault(sample_id, []).append(name)
        for sample_id, names in missing.items():
            self._skip(NOT_ANNOTATED, sample_id, f"not among the annotations, but in split {', '.join(names)}")

    def judge(self, source: Path, splits: dict[str, list[str]]) -> None:
        """Write down what is doubtful about the data; raise ``InputError`` if results would be meaningless."""
        self._survey.ids = set(self._seen)
        leaks = self._leaks(splits)
        doubts = weighed(self._survey.doubts(self._config, splits, leaks), self._config.accept)
        stop(doubts, source)
        self._check_protocols(source, splits)
        for doubt in doubts:
            if doubt.severity in ("warning", "accepted"):
                _log.warning("%s: %s", doubt.code, doubt.line())
            else:
                _log.info("%s: %s", doubt.code, doubt.line())
        self._writer.notes["leaks"] = leaks
        self._writer.notes["doubts"] = recorded(doubts)
        self._writer.notes["lost"] = totals(self._survey.lost, self._config.classes)

    def _check_protocols(self, source: Path, splits: dict[str, list[str]]) -> None:
        if not self._fingerprints and self._config.format == "clips":
            raise InputError("; ".join(self._refused), at=source)
        if not self._fingerprints:
            reason, count = self.reasons.most_common(1)[0]
            raise InputError(f"no usable sample; most frequent reason ({count} times): {reason}", at=source)
        for name, protocol in self._config.protocols.items():
            for split in (protocol.train, protocol.test):
                if not any(sample_id in self._fingerprints for sample_id in splits[split]):
                    found = f"none of its {len(splits[split])} samples is usable" if splits[split] else "it is empty"
                    if splits[split] and not any(sample_id in self._seen for sample_id in splits[split]):
                        found += (
                            f": the ids differ, {splits[split][0]!r} in the split, {next(iter(self._seen))!r} a sample"
                        )
                    raise InputError(f"split {split!r} of protocol {name!r}: {found}", at=source)

    def _leaks(self, splits: dict[str, list[str]]) -> dict[str, int]:
        """Count, per protocol, the packed test samples that are byte-equal to a packed training sample."""
        counts = {}
        for name, protocol in self._config.protocols.items():
            train, test = splits[protocol.train], splits[protocol.test]
            counts[name] = len(test) - len(without_leaks(train, test, self._fingerprints))
        return counts

    def _skip(self, position: int, sample_id: str, reason: str) -> None:
        self._writer.skip(position, sample_id, reason)
        self.reasons[reason] += 1
        clip = f"clip {position}"
        name = f" ({sample_id})" if sample_id not in ("", clip) else ""
        self._refused.append(f"{clip}{name}: {reason}")
