"""What the command line prints: constraints, what changed between two, and the plan of a round."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from components.contracts.constraints import ClassConstraint, Constraints
from components.contracts.errors import InputError
from components.contracts.plan import Estimate, Plan
from components.contracts.skeleton import load_layout


def constraints_table(found: Constraints) -> Table:
    """Return all classes: what each is told, and where that came from."""
    table = _table(_title(found), ("", "class", "description", "critical joints", "told apart from", "status"))
    for entry in found.classes:
        origin = entry.provenance
        _row(
            table,
            str(entry.label),
            entry.name,
            entry.description,
            _weighted(found, entry),
            _names(found, entry.told_apart_from),
            f"{origin.status} ({origin.provider})" + (f": {origin.note}" if origin.note else ""),
        )
    return table


def difference_table(before: Constraints, after: Constraints) -> Table:
    """Return the classes whose description, joints or confused classes differ.

    Raises:
        InputError: the two are of different layouts or classes.
    """
    if before.layout != after.layout:
        raise InputError(f"--diff: layouts {before.layout!r} and {after.layout!r} found, expected the same")
    if [entry.name for entry in before.classes] != [entry.name for entry in after.classes]:
        raise InputError("--diff: the two are of different classes")
    changed = [(a, b) for a, b in zip(before.classes, after.classes, strict=True) if _guidance(a) != _guidance(b)]
    title = f"{_title(before)} → {_title(after)}: {len(changed)} of {len(after.classes)} classes changed"
    table = _table(title, ("", "class", "description", "joints", "told apart from", "status"))
    for old, new in changed:
        told = _names(after, new.told_apart_from)
        _row(
            table,
            str(new.label),
            new.name,
            f"− {old.description}\n+ {new.description}" if old.description != new.description else "(the same)",
            _moved(after, old, new),
            told if old.told_apart_from == new.told_apart_from else f"{_names(before, old.told_apart_from)} → {told}",
            new.provenance.status,
        )
    return table


def plan_table(plan: Plan) -> Table:
    """Return the classes in the order of asking, then those that are left, each with its reason."""
    order = {label: number for number, label in enumerate(plan.order, start=1)}
    classes = sorted(plan.classes, key=lambda planned: (order.get(planned.label, len(plan.classes)), planned.label))
    title = f"{len(plan.order)} of {len(plan.classes)} classes are asked; about {amount(plan.estimate)}"
    table = _table(title, ("asked", "class", "reason", "change", "estimate"))
    for planned in classes:
        _row(
            table,
            str(order.get(planned.label, "–")),
            planned.name,
            planned.reason,
            "" if planned.change is None else f"{planned.change:.3f}",
            amount(planned.estimate) if planned.estimate else "",
        )
    return table


def amount(estimate: Estimate) -> str:
    """Put an estimate into words: tokens, and money where there is a price."""
    tokens = f"{estimate.prompt_tokens} + {estimate.completion_tokens} tokens"
    return tokens if estimate.cost is None else f"{tokens}, cost {estimate.cost:.4f}"


def _title(found: Constraints) -> str:
    stream = f", stream {found.stream}" if found.stream else ""
    return f"Round {found.round}{stream}, layout {found.layout}"


def _table(title: str, headings: tuple[str, ...]) -> Table:
    # Names and answers are data: brackets in them are no markup.
    table = Table(title=Text(title), show_lines=True)
    for heading in headings:
        table.add_column(heading, justify="left" if heading else "right", overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(cell) for cell in cells))


def _joints(found: Constraints, joints: set[int]) -> str:
    names = load_layout(found.layout).joints
    if len(joints) == len(names):
        return "all"
    return ", ".join(names[joint].replace("_", " ") for joint in sorted(joints))


def _weighted(found: Constraints, entry: ClassConstraint) -> str:
    if not entry.weights:
        return _joints(found, set(entry.joints))
    pairs = zip(entry.joints, entry.weights, strict=True)
    return ", ".join(f"{_joints(found, {joint})} {weight:.2f}" for joint, weight in pairs)


def _moved(found: Constraints, old: ClassConstraint, new: ClassConstraint) -> str:
    before, after = set(old.joints), set(new.joints)
    if before == after:
        return "(the same)" if old.weights == new.weights else f"(the same, other weights) {_weighted(found, new)}"
    signs = (("−", before - after), ("+", after - before))
    return "\n".join(f"{sign} {_joints(found, joints)}" for sign, joints in signs if joints)


def _names(found: Constraints, labels: tuple[int, ...]) -> str:
    return ", ".join(found.classes[label].name for label in labels) or "–"


def _guidance(entry: ClassConstraint) -> tuple[str, set[int], tuple[float, ...], tuple[int, ...]]:
    return entry.description, set(entry.joints), entry.weights, entry.told_apart_from
