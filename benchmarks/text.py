"""The result as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clipfed_bench.report.formats.sheet import Sheet, listing


def sections(result: dict[str, Any]) -> list[Sheet]:
    """The tables of a result of :func:`.run.measure`."""
    models = tuple(result["work"])
    return [
        *([_section("Targets", ("target", "bound", "measured", "met"), _targets(result))] if result["targets"] else []),
        _section("Ceilings", ("what", "rate"), _ceilings(result), _machine(result)),
        *(_steps(result["steps"], model) for model in models),
        *(_rounds(result["rounds"], model) for model in models),
        *([_kernels(result["kernels"])] if result["kernels"] else []),
        *(aggregation_table(result["aggregations"], model) for model in models),
        *(memory_table(result["aggregations"], model) for model in models),
        _section("Processes at once", _SCALING, _scaling(result), _SCALING_NOTE),
    ]


def _section(title: str, headings: Sequence[str], rows: Iterable[tuple[str, ...]], note: str = "") -> Sheet:
    return listing(title, headings, 1, rows, (note,) if note else ())


_MACHINE = (
    "{device_name}, {cores} cores, torch {version_torch} with {threads} thread, Python {version_python}. "
    "Clock: {clock}. Medians, in brackets the smallest and the largest of the repetitions; contestants took turns."
)
_STEPS = ("who", "batch", "ms/step", "images/s", "× floor", "/ plain", "/ usual")
_STEPS_NOTE = (
    "Plain loop: resident uint8 images, channels_last, torch.optim.SGD. Usual loop: DataLoader with torchvision's "
    "transforms, a deepcopy, an optimizer and a loader per client, .item() in each step. The last two columns are "
    "images/s over those of the plain loop in the same precision and of the usual loop."
)
_ROUNDS_NOTE = (
    "{clients} clients × {client_images} images × {epochs} epochs, {executor} {precision}; BadNets by a fifth of the "
    "clients, whose batches are twice as large; the evaluation is of {test_images} clean and triggered images, and a "
    "cell has one in ten rounds. Outside: what is neither training nor evaluation, purification aside, as a share of "
    "itself and training."
)
_MEMORY_NOTE = (
    "At its peak in a first round, beyond the updates; – where it was left out, or the system does not tell. On a CPU "
    "it is the process's resident memory, libraries that are loaded meanwhile included."
)
_AGGREGATION_NOTE = "In brackets: times the floor, which is reading K updates of P float32 values once and writing one."
_KERNELS = ("model", "batch", "local, s", "evaluate, s", "× local", "× evaluate", "× both")
_KERNELS_NOTE = "A round with compiled kernels, and how many times as fast it is as with torch's operators, in turn."
_SCALING = ("model", "processes", "images/s", "images/CPU-s each", "/ one process")
_SCALING_NOTE = "One thread each. Images/s by the clock on the wall, of all together: it needs a machine that is quiet."


def _machine(result: dict[str, Any]) -> str:
    shape = "×".join(map(str, result["image_shape"]))
    return _MACHINE.format(**result["machine"]) + f" Images of {shape}, as {result['dataset']}'s."


def _targets(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for t in result["targets"]:
        sign = "≥" if t["at_least"] else "≤"
        yield t["what"], f"{sign} {number(t['bound'])} {t['unit']}", number(t["measured"]), _yes(t["met"])


def _ceilings(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for precision, rate in result["ceilings"]["flops"].items():
        yield f"matrix product, {precision}", f"{number(rate / 1e9)} GFLOP/s"
    for name, rate in result["ceilings"]["kernels"].items():
        yield f"… float32, {name}", f"{number(rate / 1e9)} GFLOP/s"
    yield "copy, read plus written", f"{number(result['ceilings']['bandwidth'] / 1e9)} GB/s"
    for name, work in result["work"].items():
        parameters, flops = number(work["params"] / 1e6), number(work["train_flops"] / 1e9)
        yield f"{name}: {parameters} M parameters", f"{flops} GFLOP a trained image"


def _steps(steps: list[dict[str, Any]], model: str) -> Sheet:
    rows = [
        (
            *(f"{s['who']} {s['precision']}", str(s["batch_size"]), number(s["step_ms"]["median"])),
            *(_spread(s["images_per_second"]), number(s["times_floor"])),
            *(_spread(s["ratio_plain_loop"]), _spread(s["ratio_usual_loop"])),
        )
        for s in steps
        if s["model"] == model
    ]
    return _section(f"Training steps, {model}", _STEPS, rows, _STEPS_NOTE)


def _rounds(rounds: list[dict[str, Any]], model: str) -> Sheet:
    own = [r for r in rounds if r["model"] == model]
    floor = own[0]["floor"]
    rows = [
        (
            part,
            *(number(r["seconds"][part]["median"]) for r in own),
            *((number(floor[part]), number(own[0]["seconds"][part]["median"] / floor[part])) if part in floor else _NO),
        )
        for part in own[0]["seconds"]
    ]
    rows.append(("outside", *(f"{100 * r['outside_share']['median']:.2f} %" for r in own), *_NO))
    headings = ("seconds", *(r["defense"] for r in own), "floor", f"{own[0]['defense']} / floor")
    return _section(f"Whole rounds, {model}", headings, rows, _ROUNDS_NOTE.format(**own[0]))


def _kernels(entries: list[dict[str, Any]]) -> Sheet:
    rows = [
        (
            *(e["model"], str(e["batch_size"]), *(number(e["seconds"][p]["median"]) for p in ("local", "evaluate"))),
            *(_spread(e["ratio"][part]) for part in ("local", "evaluate", "both")),
        )
        for e in entries
    ]
    return _section("Kernels", _KERNELS, rows, _KERNELS_NOTE)


def aggregation_table(entries: list[dict[str, Any]], model: str) -> Sheet:
    own = [a for a in entries if a["model"] == model]
    counts = sorted({a["clients"] for a in own})
    cells = {(a["defense"], a["clients"]): _aggregation(a) for a in own}
    rows = [(name, *(cells[name, count] for count in counts)) for name in dict.fromkeys(a["defense"] for a in own)]
    notes = [_AGGREGATION_NOTE, *(f"{a['defense']}: {a['note']}." for a in own if a["milliseconds"] and a["note"])]
    headings = ("ms", *(f"K = {count}" for count in counts))
    return _section(f"Aggregation, {model}", headings, rows, " ".join(dict.fromkeys(notes)))


def memory_table(entries: list[dict[str, Any]], model: str) -> Sheet:
    own = [a for a in entries if a["model"] == model]
    counts = sorted({a["clients"] for a in own})
    cells = {(a["defense"], a["clients"]): _peak(a) for a in own}
    rows = [("the updates", *(number(own[0]["params"] * 4 * count / 1e6) for count in counts))]
    rows += [(name, *(cells[name, count] for count in counts)) for name in dict.fromkeys(a["defense"] for a in own)]
    headings = ("MB", *(f"K = {count}" for count in counts))
    return _section(f"Memory of aggregation, {model}", headings, rows, _MEMORY_NOTE)


def _peak(entry: dict[str, Any]) -> str:
    bytes_ = entry["peak_bytes"]
    return "–" if bytes_ is None or bytes_ != bytes_ else number(bytes_ / 1e6)


def _aggregation(entry: dict[str, Any]) -> str:
    if entry["milliseconds"] is None:
        return str(entry["note"])
    median = entry["milliseconds"]["median"]
    return f"{number(median)} ({number(median / entry['floor_ms'])} ×)"


def _scaling(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for s in result["scaling"]:
        rates = _spread(s["images_per_second"]), _spread(s["images_per_cpu_second"])
        yield s["model"], str(s["processes"]), *rates, _spread(s["times_one"])


def _spread(value: dict[str, float] | None) -> str:
    if value is None:
        return "–"
    return f"{number(value['median'])} ({number(value['low'])}–{number(value['high'])})"


def number(value: float) -> str:
    """Three significant digits, and all digits before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if abs(value) >= 1e-4 else f"{value:.1e}"


_NO = ("–", "–")


def _yes(met: bool) -> str:
    return "yes" if met else "no"
