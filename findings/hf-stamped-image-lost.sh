#!/usr/bin/env bash
# datasets: a trigger stamped into an image that was read from a file is lost when the image is stored.
#
# Expected: a Pillow image is documented as one of the values an Image column takes; Dataset.map is documented
# to apply a function to each example. A mapped function that pastes a white square into row["image"] and
# returns the row gives a data set with the white square.
#
# Instead: an image that Pillow opened from a file still knows the file's name, and the encoder stores that
# name instead of the pixels. The mapped data set shows the clean file again. No warning.
#
# Why it matters: this is how a poisoned copy of an "imagefolder" data set is made. The backdoor silently is
# not in the data, and an attack success rate near zero looks like a successful defense.
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
import os
import sys

import datasets
import numpy as np
from PIL import Image

print("datasets", datasets.__version__)
os.makedirs("images/cat")
for i in range(3):
    Image.fromarray(np.full((32, 32, 3), 60, np.uint8)).save(f"images/cat/{i}.png")
clean = datasets.load_dataset("imagefolder", data_dir="images", split="train")


def stamp(row):
    row["image"].paste((255, 255, 255), (27, 27, 32, 32))
    row["seen"] = int(np.asarray(row["image"])[31, 31, 0])
    return row


def stamp_copy(row):
    row["image"] = row["image"].copy()
    return stamp(row)


lost = clean.map(stamp)
kept = clean.map(stamp_copy)
corner = [int(np.asarray(part[0]["image"])[31, 31, 0]) for part in (lost, kept)]
print("corner pixel inside the mapped function:", lost[0]["seen"])
print("corner pixel of the mapped data set:    ", corner[0])
print("the same with image.copy() first:       ", corner[1])
print("stored with the image: bytes =", lost.data.column("image")[0].as_py()["bytes"])
as_described = lost[0]["seen"] == 255 and corner == [60, 255]
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
