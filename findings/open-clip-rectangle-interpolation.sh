#!/usr/bin/env bash
# open_clip: the interpolation of a preprocessing configuration is not used for inputs that are no squares.
#
# Expected: interpolation is a field of PreprocessCfg beside size, mean, std and resize_mode. An image that is
# enlarged with "bilinear" is a weighted mean of its pixels: nothing overshoots, and the result is that of
# Pillow's bilinear filter.
#
# Instead: with resize_mode "shortest" (the default) and a size of (height, width) that is no square, the resize
# is built without the interpolation and is always bicubic. With a square size it is the one asked for.
#
# Why it matters: towers for wide images get other pixels than they were trained with. Around the edge of a
# trigger patch these differ by tens of 255 levels, which is where a backdoor suite looks.
#
# Exit status: 0 behaves as described, 1 behaves otherwise, 2 could not run.
set -eu
unset PYTHONPATH
export PYTHONDONTWRITEBYTECODE=1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export TMPDIR="$dir" MPLCONFIGDIR="$dir"
"${PYTHON:-python3}" -m venv venv || exit 2
pins="open_clip_torch==3.3.0 timm==1.0.31 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 pillow==12.3.0"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys

import numpy as np
import open_clip
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

print("open_clip", open_clip.__version__)
pixels = np.full((32, 32, 3), 90, np.uint8)
pixels[-4:, -4:] = 255  # a trigger patch
image = Image.fromarray(pixels)


def made(size: tuple[int, int], interpolation: str) -> np.ndarray:
    config = PreprocessCfg(size=size, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation=interpolation)
    return (image_transform_v2(config, is_train=False)(image).numpy() * 255).round().astype(int)


off = {}
for size in ((64, 64), (64, 48)):
    # The shorter side of the image becomes the longer of the two; the middle is cut out.
    asked = np.asarray(image.resize((64, 64), Image.BILINEAR)).astype(int).transpose(2, 0, 1)
    left = (64 - size[1]) // 2
    asked = asked[:, :, left : left + size[1]]
    bilinear, bicubic = made(size, "bilinear"), made(size, "bicubic")
    off[size] = abs(bilinear - asked).max()
    print(f"size {size}: bilinear is off from Pillow's by up to {off[size]} levels; equal to bicubic: {(bilinear == bicubic).all()}")
as_described = off[64, 64] <= 1 and off[64, 48] > 5 and (made((64, 48), "bilinear") == made((64, 48), "bicubic")).all()
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
