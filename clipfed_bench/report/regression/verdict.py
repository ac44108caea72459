"""A comparison with a reference, for people: a table of what moved, and sentences on everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clipfed_bench.config.words import heading, label
from clipfed_bench.core.work_counts import plural
from clipfed_bench.report.formats.sheet import Sheet, listing
from clipfed_bench.report.regression.compare import FACTOR, Comparison, Move
from clipfed_bench.report.regression.reference import MIN_SEEDS, Reference, seeds_by_setting, short_sha
from clipfed_bench.report.tables.axes import OF_DEFENSE, SETTINGS, Record, ranks
from clipfed_bench.runs.metrics import FLOOR, METRICS


@dataclass(frozen=True)
class Verdict:
    """What is to be printed."""

    headline: str
    moved: Sheet | None
    """Figures that moved too far; None if none did."""
    lines: tuple[str, ...]

    @property
    def markdown(self) -> str:
        """As a file."""
        from clipfed_bench.report.formats.markdown import bullets, parts, plain

        table = parts(self.moved) if self.moved else ()
        return "\n\n".join([f"# {plain(self.headline)}", *table, bullets(self.lines)]) + "\n"


def describe(reference: Reference, comparison: Comparison, sources: Iterable[str]) -> Verdict:
    """What to say of ``comparison``; ``sources`` are the git SHAs of the run's cells."""
    c = comparison
    moved = len({move.cell["key"] for move in c.moves})
    parts = [f"{moved} of {_cells(c.compared)} moved" if moved else f"{_cells(c.compared)} as in the reference"]
    others = {"missing": c.missing, "failed": c.failed, "new": c.new}
    parts += [f"{len(cells)} {what}" for what, cells in others.items() if cells]
    source = short_sha(", ".join(sorted(sources))) or "unknown"
    lines = [f"Reference {reference.text.rstrip('.')}.", f"Run: source {source}."]
    if c.exact:
        lines.append(f"{_cells(c.exact)} made by the same versions on the same kind of processor: equality is asked.")
    if c.exact < c.compared:
        lines.append(f"{_cells(c.compared - c.exact)} compared with tolerance: {'; '.join(c.platforms)}.")
        lines.append(_tolerance(reference))
        lines.append(f"{c.within} figures moved by no more than that.")
    if c.changed:
        what = ", ".join(f"{name} ({_cells(count)})" for name, count in c.changed.items())
        lines.append(f"Changed since the reference: {what}.")
    if c.rekeyed:
        lines.append(f"{_cells(c.rekeyed)} have another key than in the reference: a default or a setting changed.")
    for what, cells in others.items():
        lines += [f"{what.capitalize()}: {name}" for name in _grouped(cells)]
    if c.failed:
        lines.append(f"The first error: {c.failed[0].get('error')}")
    return Verdict(f"{'Passed' if c.passed else 'Regression'}: {', '.join(parts)}.", _sheet(c.moves), tuple(lines))


def _sheet(moves: Sequence[Move]) -> Sheet | None:
    """A line for each setting and figure: the seeds that moved, and the one that moved most."""
    if not moves:
        return None
    cells = [move.cell for move in moves]
    axes = ("attack", "defense", *_varying(cells))
    groups: dict[tuple[Any, ...], list[Move]] = {}
    for move in moves:
        groups.setdefault((*(move.cell[axis] for axis in axes), move.figure), []).append(move)
    figures = list(METRICS)
    rows = []
    for *place, figure in sorted(groups, key=lambda group: (ranks(group[:-1]), figures.index(group[-1]))):
        group, metric = groups[*place, figure], METRICS[figure]
        most = max(group, key=lambda move: move.distance)
        seeds = ", ".join(str(move.cell["seed"]) for move in group)
        before, after = ("–" if value is None else metric.text(value, 2) for value in (most.before, most.after))
        signed = "–"
        if most.before is not None and most.after is not None:
            signed = f"{metric.scale * (most.after - most.before):+.2f}"
        limit = metric.text(most.tolerance, 2) if most.tolerance else "exact"
        rows.append((*map(label, place), metric.label, seeds, before, after, signed, limit))
    return listing(
        "Moved too far, shares in per cent; of several seeds the one that moved most",
        (*map(heading, axes), "figure", "seeds", "reference", "now", "moved", "allowed"),
        len(axes) + 2,
        rows,
        records=[{**{axis: move.cell[axis] for axis in (*axes, "seed")}, "figure": move.figure} for move in moves],
    )


def _varying(cells: Sequence[Record]) -> list[str]:
    names = [name for name in SETTINGS if name != "attack" and name not in OF_DEFENSE]
    return [name for name in names if len({cell.get(name) for cell in cells}) > 1]


def _tolerance(reference: Reference) -> str:
    others = (metric for metric in METRICS.values() if metric.floor and metric.floor != FLOOR)
    floors = ", ".join(f"{100 * (metric.floor or 0):g} points for {metric.label}" for metric in others)
    text = (
        f"Tolerance: {FACTOR:g} sample standard deviations over the reference's seeds of the setting, at least "
        f"{100 * FLOOR:g} points, {floors}; none for dropped updates."
    )
    fewest = min(map(len, seeds_by_setting(reference.records).values()))
    if fewest < MIN_SEEDS:
        text += f" Some settings have {fewest} seeds; {MIN_SEEDS} are needed for a spread worth the name."
    return text


def _grouped(cells: Sequence[Record]) -> list[str]:
    """One line a setting, with its seeds."""
    found = []
    varying = _varying(cells)
    for group in seeds_by_setting(cells).values():
        seeds = ", ".join(str(cell["seed"]) for cell in group)
        more = "".join(f" {heading(name)} {label(group[0].get(name))}" for name in varying)
        found.append(f"{group[0]['attack']} {group[0]['defense']}{more} seed {seeds}")
    return found


def _cells(count: int) -> str:
    return plural(count, "cell")
