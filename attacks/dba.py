"""DBA: a square cut into four parts; each attacker trains with one, the test shows all.

Xie et al., "DBA: Distributed Backdoor Attacks against Federated Learning", ICLR 2020. Attacker i trains with part
i mod 4, in the order upper left, upper right, lower left, lower right. Deviations: the paper's four parts are bars with
gaps between them; here they partition the 5 × 5 BadNets square (rows and columns 27–28 and 29–31) as in the CLIP-Fed
lineage, so that both attacks have one test-time trigger. The paper poisons 5 of 64 images of a batch; here the cell's
poisoning ratio holds. Its model replacement is the option ``attack_scale`` of the cell.
In images that are not 32 × 32 the default position is the same corner, as BadNets' is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.triggers import check_square, cornered, paint


@dataclass(frozen=True)
class Config:
    size: int = 5
    """Side of the whole square, pixels >= 2 [lineage]."""
    split: int = 2
    """Rows and columns of the upper left part, 1 to size - 1; the other parts get the rest [lineage]."""
    row: int = 27
    """Top row of the square, counted from 0; 27 is 5 above the lower edge of images of any size [lineage]."""
    col: int = 27
    """Left column of the square, counted from 0; 27 is 5 before the right edge of images of any size [lineage]."""
    value: float = 1.0
    """Pixel value of the square in [0, 1]; 1 is white [lineage]."""


class DBA(Attack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        _, height, width = context.image_shape
        self.row, self.col = cornered(config.row, height), cornered(config.col, width)
        check_square("dba", config.size, self.row, self.col, config.value, context.image_shape)
        if not 1 <= config.split < config.size:
            raise UserError(
                f"dba: split {config.split} does not cut a square of size {config.size} into four parts; "
                f"it is 1 to size - 1, and size at least 2."
            )

    def trigger(self, images: Tensor) -> Tensor:
        whole = slice(0, self.config.size)
        return paint(images, _shift(whole, self.row), _shift(whole, self.col), self.config.value)

    def client_trigger(self, images: Tensor, attacker: int) -> Tensor:
        """Part ``attacker`` mod 4 of the square."""
        c = self.config
        lower, right = divmod(attacker % 4, 2)
        spans = (slice(0, c.split), slice(c.split, c.size))
        return paint(images, _shift(spans[lower], self.row), _shift(spans[right], self.col), c.value)


def _shift(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)
