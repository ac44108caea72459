"""What CLIP-Fed's purification does to a model inside a cell, phase by phase: losses, gradients, accuracy, cosines.

    OMP_NUM_THREADS=1 python -m benchmarks.purification "clip-fed[filtering=false]" --teacher lit --data-dir DATA

One cell of `grid --dataset cifar10-lt --scale cpu` at alpha 0.5 under BadNets, judged on validation images: it is for
understanding, and choices may follow. Each phase (rectification, then transfer) of each round is a line: the loss of
its first and last tenth of steps, the norm of gradients before they are bounded, MTA, ASR and accuracy on the third of
classes with fewest images before and after it, the share of clean images of other classes that are taken for the target
(the floor of ASR), and two cosines of triggered images in the model's feature space, to the mean of clean images of the
target class and to that of their own class.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean, median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from clipfed_bench.clipfed import rectify_transfer, steps
from clipfed_bench.clipfed.losses import class_prototypes
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.grid import load_preset, make_grid
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.files import check_place
from clipfed_bench.core.messages import Environment
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.evaluate import TestSets, evaluate
from clipfed_bench.toolbox.classifier import Classifier

HEADINGS = ("round", "phase", "loss", "gradient", "bounded", "MTA", "ASR", "few", "clean", "to target", "to own")


def features_of(model: Classifier, sets: TestSets) -> tuple[float, float, float]:
    """Share of clean images of other classes that are taken for the target; mean cosines of triggered images to the
    prototype of the target class, and to that of their own class."""
    model.eval()
    with torch.no_grad():
        clean, triggered = (
            torch.cat([model.features(part) for part in torch.split(images, 256)])
            for images in (sets.prepare(sets.clean) if sets.prepare else sets.clean, sets.triggered)
        )
    prototypes = class_prototypes(clean, sets.labels, model.classifier.out_features)
    found = torch.nn.functional.normalize(triggered, dim=1) @ prototypes.T
    others = sets.labels != sets.target
    with torch.no_grad():
        taken = model.classifier(clean[others]).argmax(dim=1) == sets.target
    to_own = found.gather(1, sets.labels[others, None])
    return float(taken.double().mean()), float(found[:, sets.target].mean()), float(to_own.mean())


class Watch:
    """Stands in for the training of the server, and notes what each phase does."""

    def __init__(self, sets: TestSets) -> None:
        self.sets = sets
        self.lines: list[dict[str, Any]] = []
        self._losses: list[float] = []
        self._norms: list[float] = []

    def look(self, model: Classifier) -> dict[str, float]:
        clean, to_target, to_own = features_of(model, self.sets)
        found = evaluate(model, self.sets)
        shares = {"mta": found["mta"], "asr": found["asr"], "few": found["mta_few"], "clean": clean}
        return shares | {"target": to_target, "own": to_own}

    def training(self) -> type[steps.Training]:
        """A class of trainings that are watched."""
        watch = self

        class Watched(steps.Training):
            def __init__(self, model: Classifier, trained: Any, loss: Callable[[Tensor], Tensor], *rest: Any) -> None:
                def noted(index: Tensor) -> Tensor:
                    value = loss(index)
                    watch._losses.append(float(value.detach()))
                    return value

                super().__init__(model, trained, noted, *rest)
                self.phase = "transfer" if len(rest) == 3 else "rectify"  # which alone has something to begin with

            def __call__(self, stream: torch.Generator) -> None:
                watch._losses.clear()
                watch._norms.clear()
                before = watch.look(self._model)
                super().__call__(stream)
                norms = watch._norms or [math.nan]  # without a bound nobody asks for them
                losses, tenth = watch._losses, max(1, len(watch._losses) // 10)
                watch.lines.append(
                    {
                        "round": 1 + sum(line["phase"] == self.phase for line in watch.lines),
                        "phase": self.phase,
                        "loss": (fmean(losses[:tenth]), fmean(losses[-tenth:])),
                        "gradient": (median(norms), max(norms)),
                        "bounded": fmean(norm > self._schedule.clip > 0 for norm in norms),
                        "before": before,
                        "after": watch.look(self._model),
                    }
                )

        return Watched

    def bound(self, parameters: Any, most: float) -> Tensor:
        """As torch's; the norm is noted."""
        norm = torch.nn.utils.clip_grad.clip_grad_norm_(parameters, most)
        self._norms.append(float(norm))
        return norm


def watched(spec: CellSpec, env: Environment) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The phases of a cell, and its final figures."""
    setup = CellSetup(spec, env)
    if setup.attack.adaptive:
        raise UserError(f"{spec.attack}: its trigger changes from round to round; one with a fixed trigger is needed.")
    watch = Watch(setup.test_sets)
    with ExitStack() as stack:
        stack.enter_context(patch.object(rectify_transfer, "Training", watch.training()))
        stack.enter_context(patch.object(torch.nn.utils, "clip_grad_norm_", watch.bound))
        result = run_cell(spec, env)
    return watch.lines, dict(result.final)


def row(line: dict[str, Any]) -> tuple[str, ...]:
    """A phase as it is printed."""
    before, after = line["before"], line["after"]
    moved = [f"{100 * before[name]:.1f} → {100 * after[name]:.1f}" for name in ("mta", "asr", "few", "clean")]
    near = [f"{before[name]:.2f} → {after[name]:.2f}" for name in ("target", "own")]
    loss, gradient = (" → ".join(f"{v:.2f}" for v in line["loss"])), " / ".join(f"{v:.1f}" for v in line["gradient"])
    return (str(line["round"]), line["phase"], loss, gradient, f"{100 * line['bounded']:.0f} %", *moved, *near)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("defense")
    parser.add_argument("--attack", default="badnets")
    parser.add_argument("--teacher", default="lit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--warmups", type=Path, default=Path("results/runs/purification"))
    parser.add_argument("--kernels", default="torch")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    chosen = {name: [getattr(asked, name)] for name in ("defense", "attack", "teacher", "seed")}
    axes = load_preset("whole").override({"dataset": ["cifar10-lt"], "alpha": [0.5], "evaluate": ["validation"]})
    (spec,) = make_grid(axes.at("cpu").override(chosen)).cells
    if asked.json is not None:
        check_place(asked.json, "--json")
    torch.set_num_threads(1)
    env = Environment("cpu", asked.data_dir, asked.cache_dir, asked.warmups, kernels=asked.kernels)
    lines, final = watched(spec, env)
    if asked.json is not None:
        asked.json.write_text(json.dumps({"lines": lines, "final": final}, indent=1) + "\n")
    print("| " + " | ".join(HEADINGS) + " |\n" + "|---" * len(HEADINGS) + "|")
    for line in lines:
        print("| " + " | ".join(row(line)) + " |")
    print(f"\n{spec.defense}, {spec.teacher}: MTA {100 * final['mta']:.1f}, ASR {100 * final['asr']:.1f}")


if __name__ == "__main__":
    main()
