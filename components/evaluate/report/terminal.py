"""The report's story in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.contracts.metrics import EnsembleRow, Metrics, StreamRow
from components.evaluate.measures.tables import CONFIGURED
from components.evaluate.report.comparison import Comparison
from components.evaluate.report.story import story
from components.evaluate.wording import counted, p_value, percent, points, points_span, span

_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "unknown": "dim", "ok": "green"}
_STYLES |= {"warning": "yellow", "note": "dim"}
_SHOWN = 10


def print_report(metrics: Metrics, console: Console) -> None:
    """Print the story, the streams and ensembles, the most confused pairs and what is suspicious."""
    headline, data = metrics.headline, metrics.data
    title = f"{metrics.name}: {headline.top1:.1%} top-1, {data.protocol_label}"
    console.print(f"[bold]{escape(title)}[/]")
    for answer in story(metrics):
        style = _STYLES.get(answer.status, "")
        question = f"[bold {style}]{answer.question}[/]" if style else f"[bold]{answer.question}[/]"
        console.print(f"{question} {escape(answer.text)}")
    console.print(_streams(metrics))
    if calibrated := metrics.calibration.held_out:
        known = counted(calibrated.samples, "held-out training sample")
        before, after = (percent(one.error) for one in (metrics.calibration, calibrated))
        console.print(
            f"Calibration error {before}; {after} with temperature {calibrated.temperature:.2f}, learnt from {known}"
        )
    for advice in metrics.advice:
        console.print(f"[bold]What next?[/] {escape(advice.text)}")
    if metrics.confused_pairs:
        console.print(_pairs(metrics))
    for doubt in data.doubts or []:
        remedy = f"; {doubt.remedy}" if doubt.remedy else ""
        style = _STYLES.get(doubt.severity, "bold red")
        console.print(f"[{style}]{doubt.severity}[/] {escape(f'{doubt.code}: {doubt.text}{remedy}')}")
    for check in metrics.checks:
        if check.status != "ok":
            console.print(f"[{_STYLES[check.status]}]{check.status}[/] {escape(check.name)}: {escape(check.text)}")


def _table(title: str, first: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in first:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _streams(metrics: Metrics) -> Table:
    headline, top = metrics.headline, min(5, len(metrics.data.classes))
    names = ("round", "top-1", "95 % interval", f"top-{top}", "mean class")
    table = _table("Streams and ensembles", ("stream or ensemble",), names)
    for row in metrics.streams:
        table.add_row(row.stream, *_cells(row))
    table.add_section()
    for ensemble in metrics.ensembles:
        chosen = ensemble.name == CONFIGURED and ensemble.round == headline.round
        table.add_row(
            f"{ensemble.name} ({'+'.join(ensemble.streams)})", *_cells(ensemble), style="bold" if chosen else None
        )
    return table


def _cells(row: StreamRow | EnsembleRow) -> list[str]:
    shares = [f"{share:.1%}" for share in (row.top5, row.mean_class)]
    return [str(row.round), f"{row.top1:.1%}", span(row.interval), *shares]


def _pairs(metrics: Metrics) -> Table:
    names = metrics.data.classes
    table = _table("Most confused", ("true class", "taken for"), ("samples", "share of the true class"))
    for pair in metrics.confused_pairs[:_SHOWN]:
        table.add_row(escape(names[pair.true]), escape(names[pair.predicted]), str(pair.count), percent(pair.share))
    return table


def print_comparison(found: Comparison, console: Console) -> None:
    """Print the answer to "is B better than A?", and the classes that changed."""
    console.print(f"[bold]{escape(found.answer)}[/]", soft_wrap=True)
    if found.classes:
        table = _table(
            "Classes that changed", ("class",), ("samples", "A", "B", "points", "won, lost", "McNemar, Holm")
        )
        for row in found.classes[: 2 * _SHOWN]:
            won_lost = f"+{row.paired.won} −{row.paired.lost}"
            table.add_row(
                escape(row.name),
                str(row.paired.samples),
                percent(row.first),
                percent(row.second),
                points(row.paired.difference),
                won_lost,
                p_value(row.adjusted),
            )
        console.print(table)
    for caution in found.cautions:
        console.print(f"[yellow]mind[/] {escape(caution)}", soft_wrap=True)
    interval = points_span(found.overall.interval)
    console.print(
        f"{found.overall.samples} test samples; B − A {points(found.overall.difference)} points, "
        f"95 % interval {interval}, McNemar {p_value(found.overall.p_value)}",
        soft_wrap=True,
    )
