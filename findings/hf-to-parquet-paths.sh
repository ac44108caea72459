#!/usr/bin/env bash
# datasets: to_parquet of an image folder writes file names, save_to_disk writes the images.
#
# Expected: to_parquet is documented to export the data set to parquet, and parquet is the form in which image
# data sets are shipped. An exported image folder can be read on another machine, as one saved by save_to_disk
# can.
#
# Instead: the parquet file holds the local path of each image and no bytes. It can be read here for as long
# as the folder is there; elsewhere each row fails when it is looked at. The file is small, and no warning is
# given.
#
# Why it matters: a generated server data set or a client's shard handed to other people is empty. Reading it
# from a cluster's nodes fails in the middle of a run.
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
import shutil
import sys

import datasets
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

print("datasets", datasets.__version__)
os.makedirs("images/cat")
Image.fromarray(np.full((32, 32, 3), 60, np.uint8)).save("images/cat/0.png")
part = datasets.load_dataset("imagefolder", data_dir="images", split="train")
part.to_parquet("export.parquet")
part.save_to_disk("saved")
stored = pq.read_table("export.parquet")["image"][0].as_py()
print("in the parquet file: bytes =", stored["bytes"], "| a path:", bool(stored["path"]))
shutil.rmtree("images")
try:
    print("parquet, folder gone:", datasets.Dataset.from_parquet("export.parquet")[0])
    failed = False
except FileNotFoundError as error:
    print("parquet, folder gone:", type(error).__name__)
    failed = True
saved = datasets.load_from_disk("saved")[0]["image"].size
print("save_to_disk, folder gone:", saved)
as_described = stored["bytes"] is None and failed and saved == (32, 32)
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
