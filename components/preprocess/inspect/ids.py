"""Ids of splits and of samples that mean the same and differ in case, folder or suffix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from components.contracts.config import DataConfig
from components.preprocess.inspect.doubts import Doubt

NOTICEABLE = 0.02
TRIED = 50


def plain(sample_id: str) -> str:
    """Return an id without folder, suffix (a dot and up to nine letters and digits) and case."""
    name = sample_id.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and len(suffix) < 10 and suffix.isalnum() and not suffix.isdigit() else name


def loose_matches(wanted: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Match ids that are not known with known ones that mean the same; what several would match is left out.

    Args:
        wanted: the ids of a split.
        known: the ids of the samples.

    Returns:
        wanted id → known id, only of ids that are not known as they are.
    """
    unknown = [sample_id for sample_id in dict.fromkeys(wanted) if sample_id not in known]
    if not unknown:
        return {}
    by_plain: dict[str, list[str]] = {}
    for sample_id in known:
        by_plain.setdefault(plain(sample_id), []).append(sample_id)
    found = _unique(unknown, by_plain, "", "")
    if len(found) < len(unknown) / 2:
        tried = [(_unique(unknown, by_plain, *affixes), affixes) for affixes in _affixes(unknown, by_plain)]
        found = max([found, *(matches for matches, _ in tried)], key=len)
    return found


def _unique(unknown: Sequence[str], by_plain: Mapping[str, list[str]], cut: str, added: str) -> dict[str, str]:
    found = {}
    for sample_id in unknown:
        known = by_plain.get(plain(sample_id).removesuffix(cut) + added, [])
        if len(known) == 1:
            found[sample_id] = known[0]
    return found


def _affixes(unknown: Sequence[str], by_plain: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """Return what is most often cut from, or added to, ids to make known ones of them."""
    cuts: Counter[tuple[str, str]] = Counter()
    for name in map(plain, unknown[:TRIED]):
        cuts.update((name[length:], "") for length in range(1, len(name)) if name[:length] in by_plain)
        cuts.update(("", other[len(name) :]) for other in by_plain if other.startswith(name) and other != name)
    return [affixes for affixes, _ in cuts.most_common(3)]


def id_doubts(splits: Mapping[str, Sequence[str]], known: Collection[str], config: DataConfig) -> list[Doubt]:
    """Return the doubt that ids of the protocols' splits differ from the samples' only in how they are written."""
    used = dict.fromkeys(split for protocol in config.protocols.values() for split in (protocol.train, protocol.test))
    wanted = list(dict.fromkeys(sample_id for split in used for sample_id in splits.get(split, ())))
    found = loose_matches(wanted, known)
    if not found:
        return []
    written, sample_id = next(iter(found.items()))
    text = (
        f"{len(found)} of {len(wanted)} ids of the splits differ from the samples' only in how they are written: "
        f"{written!r} in a split, {sample_id!r} among the samples"
    )
    grave = len(found) > NOTICEABLE * len(wanted)
    return [Doubt("ids-differ", "stop" if grave else "warning", text, "set data.match_ids: loose")]
