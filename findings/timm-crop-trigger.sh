#!/usr/bin/env bash
# timm: the evaluation transform for 32 x 32 images cuts the border off, and with it a corner trigger.
#
# Expected: create_transform(input_size=(3, 32, 32)) is documented to make the evaluation transform for that
# input size. An image of 32 x 32 pixels that already has it goes through unchanged.
#
# Instead: it is enlarged to 36 x 36 and its center is cropped (crop_pct is 0.875 unless given): two of 36
# pixels are lost on each side. Of a white 3 x 3 square in the corner 21 % of the brightness is left, and one
# pixel of nine is brighter than half.
#
# Why it matters: BadNets and DBA put their triggers there. Evaluated through this transform a working
# backdoor has a low success rate, and a teacher or defense that looks through it cannot see the trigger.
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
pins="timm==1.0.31 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 pillow==13.0.0"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys

import numpy as np
import timm
from PIL import Image
from timm.data import create_transform

print("timm", timm.__version__)
image = np.zeros((32, 32, 3), np.uint8)
image[29:, 29:] = 255
left = {}
for options in ({}, {"crop_pct": 1.0}):
    transform = create_transform(input_size=(3, 32, 32), mean=(0, 0, 0), std=(1, 1, 1), **options)
    out = np.asarray(transform(Image.fromarray(image)))
    brightness, lit = left[bool(options)] = (float(out[0].sum()) / 9, int((out[0] > 0.5).sum()))
    steps = ", ".join(f"{type(step).__name__} {getattr(step, 'size', '')}" for step in transform.transforms[:2])
    print(f"create_transform(input_size=(3, 32, 32){', crop_pct=1.0' if options else ''}): {steps}")
    print(f"    of a trigger of 9 white pixels: {brightness:.0%} of its brightness, {lit} pixels above half")
as_described = left[False][0] < 0.5 and left[False][1] <= 4 and left[True] == (1.0, 9)
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
