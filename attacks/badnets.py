"""BadNets: a small bright square in the corner.

Gu et al., "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017. In federated
learning every malicious client trains with the same square. Deviations: none; the position follows the CLIP-Fed
lineage, where sizes 1 to 4 are anchored at (27, 27) like the default 5 × 5 square. In images smaller than 32 × 32
the default position is outside: an error asks for another one; larger images take it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.toolbox.triggers import check_square, paint


@dataclass(frozen=True)
class Config:
    size: int = 5
    """Side of the square, pixels >= 1 [lineage]."""
    row: int = 27
    """Top row of the square, counted from 0 [lineage]."""
    col: int = 27
    """Left column of the square, counted from 0 [lineage]."""
    value: float = 1.0
    """Pixel value of the square in [0, 1]; 1 is white [lineage]."""


class BadNets(Attack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_square("badnets", config.size, config.row, config.col, config.value, context.image_shape)

    def trigger(self, images: Tensor) -> Tensor:
        c = self.config
        return paint(images, slice(c.row, c.row + c.size), slice(c.col, c.col + c.size), c.value)
