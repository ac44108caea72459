"""Image files from outside, opened with care: few formats, bounded size, every kind of damage one kind of error."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from clipfed_bench.core.errors import DamagedFileError, UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM")
"""No others: some formats that Pillow knows are handed to other programs (PostScript), all are code to be attacked."""

MOST_PIXELS = 2**25
"""Larger images are not decoded: a file of some kB can be one of gigabytes."""


@contextmanager
def opened(source: bytes | Path) -> Iterator[Image.Image]:
    """The image, whose size is known and which is decoded by what is done with it inside.

    Raises DamagedFileError, also for what goes wrong inside (but for UserError): it is no image of :data:`FORMATS`,
    larger than :data:`MOST_PIXELS`, or damaged.
    """
    try:
        if isinstance(source, Path) and not source.is_file():
            raise ValueError("there is no such file")
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width}×{image.height} pixels, and {MOST_PIXELS:,} is the most there may be")
            yield image
    except UserError:
        raise
    except UnidentifiedImageError:
        raise DamagedFileError(f"it is none of {', '.join(FORMATS)}, or damaged") from None
    except Image.DecompressionBombError:
        raise DamagedFileError(f"it has more than {MOST_PIXELS:,} pixels") from None
    except Exception as error:  # damaged images raise nearly anything
        reason = str(error) if isinstance(error, ValueError) else f"it is damaged: {error}"
        raise DamagedFileError(reason) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """``image`` with 8 bits of red, green and blue: 16 bits of gray are scaled, what is transparent is on white [ours].

    Pillow's own conversion cuts gray values above 255 off, and shows what is below transparency.
    """
    if image.mode.startswith("I"):
        image = Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
