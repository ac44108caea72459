#!/usr/bin/env bash
# datasets: storing a decoded image back makes it lossy again if its file was JPEG or WebP.
#
# Expected: Dataset.map with a function that hands back what it was given leaves the pixels as they are; the
# documentation of Image columns speaks of images as arrays or Pillow objects and of no loss.
#
# Instead: a Pillow image that was decoded from JPEG or WebP bytes remembers its format, and the encoder
# writes that format with Pillow's default quality. Each such map compresses the pixels once more. PNG is not
# affected.
#
# Why it matters: Tiny ImageNet and generated server images are commonly shipped as JPEG or WebP in parquet. A
# trigger stamped in a map (a checkerboard, a blend, a frequency pattern) is blurred and the clean part of the
# poisoned image is changed too, which a defense that compares frequencies can see.
#
# Exit status: 0 behaves as described, 1 behaves otherwise, 2 could not run.
set -eu
unset PYTHONPATH
export PYTHONDONTWRITEBYTECODE=1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export TMPDIR="$dir" MPLCONFIGDIR="$dir"
export HF_HOME="$dir/hf" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1
"${PYTHON:-python3}" -m venv venv || exit 2
pins="datasets==4.8.5 pillow==13.0.0 numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import io
import sys

import datasets
import numpy as np
from PIL import Image

print("datasets", datasets.__version__)
picture = np.random.default_rng(0).integers(0, 200, (32, 32, 3), dtype=np.uint8)
checkerboard = (np.indices((6, 6)).sum(0) % 2 * 255).astype(np.uint8)


def pixels(part):
    return np.asarray(part[0]["image"]).astype(int)


def stamp(row):
    row["image"].paste(Image.fromarray(checkerboard).convert("RGB"), (26, 26))
    return row


changes = {}
for kind in ("PNG", "JPEG", "WEBP"):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    features = datasets.Features({"image": datasets.Image()})
    part = datasets.Dataset.from_dict({"image": [{"bytes": file.getvalue(), "path": None}]}, features=features)
    same = part.map(lambda row: {"image": row["image"]})
    stamped = part.map(stamp)
    outside = np.abs(pixels(stamped) - pixels(part))[:24, :24].max()
    inside = np.abs(pixels(stamped)[26:, 26:] - checkerboard[..., None].astype(int)).max()
    changes[kind] = (np.abs(pixels(same) - pixels(part)).max(), outside, inside)
    print(f"{kind}: largest change by a map that changes nothing {changes[kind][0]}; after stamping:",
          f"far from the trigger {outside}, in the trigger {inside} (of 255)")
as_described = max(changes["PNG"]) == 0 and min(changes["JPEG"]) > 5 and min(changes["WEBP"]) > 5
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
