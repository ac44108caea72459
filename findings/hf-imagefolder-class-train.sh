#!/usr/bin/env bash
# datasets: of CIFAR-100 as class folders, "imagefolder" loads the class "train" alone.
#
# Expected: imagefolder is documented to take a folder with one folder a class and to infer the labels from
# the folders' names. CIFAR-100 has a class called "train" (between "tractor" and "trout").
#
# Instead: a folder named "train" is taken for the training split. The images of all other classes are left
# out, there is no column of labels, and no warning says so.
#
# Why it matters: server data sets (generated images for distillation, poisoned copies, client shards) are
# commonly kept as class folders; with CIFAR-100's names one hundredth of the images is loaded.
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
for name in ("tractor", "train", "trout"):
    os.makedirs(f"images/{name}")
    for i in range(4):
        Image.fromarray(np.full((32, 32, 3), 50 * i, np.uint8)).save(f"images/{name}/{i}.png")
print("on disk: 3 classes of 4 images: tractor, train, trout")
loaded = datasets.load_dataset("imagefolder", data_dir="images")
print("loaded:", {split: (part.num_rows, list(part.features)) for split, part in loaded.items()})
train = loaded["train"]
as_described = list(loaded) == ["train"] and train.num_rows == 4 and list(train.features) == ["image"]
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
