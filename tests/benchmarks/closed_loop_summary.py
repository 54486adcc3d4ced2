"""What the cells of studies of the closed loop say: accuracy by arm, and effects with their 95 % intervals.

``python tests/benchmarks/closed_loop_summary.py build/loop/ONE build/loop/OTHER`` prints the effects by data set and
pooled. An effect is the mean over seeds of the difference of two arms at the same seed, its interval Student's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from scipy import stats


def summarise(results: Sequence[dict[str, Any]], arms: Sequence[str]) -> dict[str, Any]:
    """Average the last round's top-1 over the protocols and streams that every arm and seed has finished.

    Returns:
        ``groups``: those protocols and streams; per arm ``top1`` (per seed, in percent, and their mean and sd);
        per pair of arms ``differences`` (per seed, in points of percent, their mean and sd, and ``half_width`` of the
        mean's 95 % interval).
    """
    last = {(r["protocol"], r["stream"], r["seed"], r["arm"]): 100 * r["top1"][-1] for r in results}
    groups = sorted({key[:2] for key in last})
    seeds = [
        seed
        for seed in sorted({key[2] for key in last})
        if all((*group, seed, arm) in last for group in groups for arm in arms)
    ]
    per_seed = {arm: [mean(last[(*group, seed, arm)] for group in groups) for seed in seeds] for arm in arms}
    return {
        "groups": [" ".join(group) for group in groups] if seeds else [],
        "seeds": seeds,
        "top1": {arm: spread(values) for arm, values in per_seed.items()},
        "differences": {
            f"{other} - {one}": _effect([b - a for a, b in zip(per_seed[one], per_seed[other], strict=True)])
            for one, other in combinations(arms, 2)
        },
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return values (per seed), their mean and their standard deviation, rounded."""
    return {
        "per_seed": [round(value, 2) for value in values],
        "mean": round(mean(values), 2) if values else None,
        "sd": round(stdev(values), 2) if len(values) > 1 else None,
    }


def _effect(differences: Sequence[float]) -> dict[str, Any]:
    return {**spread(differences), "half_width": _rounded(half_width([differences]))}


def pooled(summaries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the mean effect over data sets, each of which counts alike, for every pair of arms that all have.

    The interval is that of a sum of independent means (Welch and Satterthwaite's degrees of freedom).
    """
    found = {}
    for name in summaries[0]["differences"]:
        parts = [one["differences"][name]["per_seed"] for one in summaries if name in one["differences"]]
        if len(parts) == len(summaries) and all(parts):
            effect = round(mean(map(mean, parts)), 2)
            found[name] = {"mean": effect, "half_width": _rounded(half_width(parts)), "per_seed": parts}
    return found


def half_width(parts: Sequence[Sequence[float]]) -> float:
    """Return half the 95 % interval of the mean of the means of independent samples; infinite for single values."""
    if any(len(part) < 2 for part in parts):
        return math.inf
    squares = [stdev(part) ** 2 / len(part) for part in parts]
    total = sum(squares)
    if total == 0:
        return 0.0
    freedom = 1 / sum((square / total) ** 2 / (len(part) - 1) for square, part in zip(squares, parts, strict=True))
    return float(stats.t.ppf(0.975, freedom)) * math.sqrt(total) / len(parts)


def _rounded(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None


def shown(effect: Mapping[str, Any]) -> str:
    """Return an effect as tables have it: ``+0.4 ± 1.2``."""
    half = effect["half_width"]
    return f"{effect['mean']:+.1f}" + ("" if half is None else f" ± {half:.1f}")


def print_summary(title: str, summary: Mapping[str, Any]) -> None:
    """Print accuracies (± their standard deviation) and differences (± half their 95 % interval), per seed too."""
    if not summary["seeds"]:
        return
    table = Table(title=f"{title}: test top-1 in percent", title_justify="left")
    for column in ("", "mean", *(f"seed {seed}" for seed in summary["seeds"])):
        table.add_column(column, justify="left" if not column else "right")
    for arm, row in summary["top1"].items():
        sd = "" if row["sd"] is None else f" (sd {row['sd']:.1f})"
        table.add_row(arm, f"{row['mean']:.1f}{sd}", *(f"{value:.1f}" for value in row["per_seed"]))
    for pair, row in summary["differences"].items():
        table.add_row(pair, shown(row), *(f"{value:.1f}" for value in row["per_seed"]))
    Console(width=140).print(table)


def main(studies: Annotated[list[Path], typer.Argument(help="Folders of studies, one data set each.")]) -> None:
    """Print the effects of several studies side by side, and pooled."""
    if lacking := [folder for folder in studies if not (folder / "study.json").exists()]:
        Console(stderr=True).print(f"error: {lacking[0]}: holds no study.json: make bench-loop writes one at its end")
        raise typer.Exit(2)
    summaries = [json.loads((folder / "study.json").read_text())["summary"]["all"] for folder in studies]
    together = pooled(summaries)
    table = Table(title="points of test top-1 ± half the 95 % interval", title_justify="left")
    for column in ("", *(folder.name for folder in studies), "pooled"):
        table.add_column(column)
    for pair, effect in together.items():
        table.add_row(pair, *(shown(one["differences"][pair]) for one in summaries), shown(effect))
    seeds = (f"{folder.name} {len(one['seeds'])}" for folder, one in zip(studies, summaries, strict=True))
    Console(width=120).print(table, f"seeds: {', '.join(seeds)}")


if __name__ == "__main__":
    typer.run(main)
