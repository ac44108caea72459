"""The server's images and CLIP-Fed's view of them, for the figures on images and spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.components.choice import Choice
from clipfed_bench.components.registry import choose, create_attack
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.data.catalog import info
from clipfed_bench.paper.figures.cells import require_alike
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.toolbox.images import image_shape


@dataclass(frozen=True)
class ServerImages:
    """The server data set of a CLIP-Fed cell."""

    spec: CellSpec
    pixels: Tensor
    """(N, C, H, W) float32 in [0, 1], on the CPU."""
    labels: Tensor
    """(N,) int64."""
    classes: int
    options: dict[str, Any]
    """CLIP-Fed's options, all of them."""

    @property
    def probe(self) -> Attack:
        """The attack whose trigger CLIP-Fed measures bands with."""
        return self.attack(choose("attack", self.options["probe"]))

    def attack(self, choice: Choice, target: int = 0, poison_ratio: float = 1.0, seed: int = 0) -> Attack:
        """The attack that was chosen, for these images."""
        context = AttackContext(target, self.classes, image_shape(self.pixels), poison_ratio, seed)
        return create_attack(choice, context)

    def attack_of(self, cell: CellSpec) -> Attack:
        """The attack of ``cell``, for these images."""
        return self.attack(cell.attack, cell.target, cell.poison_ratio, cell.seed)


def server_images(cells: Sequence[CellSpec], env: Environment, figure: str) -> ServerImages:
    """The server data of the CLIP-Fed cells among ``cells``.

    Raises UserError where there are none, or they differ in their data or in CLIP-Fed's options.
    """
    owners = [cell for cell in cells if cell.defense.name == "clip-fed"]
    if not owners:
        raise UserError(f"{figure} shows server data as CLIP-Fed uses them; add a cell with the defense clip-fed.")
    free = set(CellSpec.__dataclass_fields__) - {
        *("dataset", "imbalance_factor", "defense", "server_data", "server_per_class")
    }
    require_alike(owners, free, figure)
    spec = owners[0]
    data = CellSetup(spec, env).server_data.data
    classes = len(info(spec.dataset).classes)
    return ServerImages(spec, data.images.float() / 255, data.labels, classes, spec.defense.options)
