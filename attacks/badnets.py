"""BadNets: a small bright square in the corner.

Gu et al., "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017. In federated
learning every malicious client trains with the same square. Deviations: none; the position follows the CLIP-Fed
lineage, where sizes 1 to 4 are anchored at (27, 27) like the default 5 × 5 square. In images that are not 32 × 32 the
default position is the same corner [ours]: (23, 23) of 28 × 28, (59, 59) of 64 × 64.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.toolbox.triggers import check_square, cornered, paint


@dataclass(frozen=True)
class Config:
    size: int = 5
    """Side of the square, pixels >= 1 [lineage]."""
    row: int = 27
    """Top row of the square, counted from 0; 27 is 5 above the lower edge of images of any size [lineage]."""
    col: int = 27
    """Left column of the square, counted from 0; 27 is 5 before the right edge of images of any size [lineage]."""
    value: float = 1.0
    """Pixel value of the square in [0, 1]; 1 is white [lineage]."""


class BadNets(Attack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        _, height, width = context.image_shape
        row, col, size = cornered(config.row, height), cornered(config.col, width), config.size
        check_square("badnets", size, row, col, config.value, context.image_shape)
        self.rows, self.cols = slice(row, row + size), slice(col, col + size)

    def trigger(self, images: Tensor) -> Tensor:
        return paint(images, self.rows, self.cols, self.config.value)
