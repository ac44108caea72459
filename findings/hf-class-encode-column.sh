#!/usr/bin/env bash
# datasets: class_encode_column renumbers integer labels.
#
# Expected: the method is documented to cast a column to ClassLabel; train_test_split stratifies by ClassLabel
# columns alone, so it is what one calls first. On a column that already holds the labels 0 to 11, label 2
# stays 2.
#
# Instead: the values are turned into strings and sorted as strings, so "10" and "11" come before "2": label 2
# becomes 4, label 10 becomes 2. Data sets of up to ten classes are not changed, and no warning is given.
#
# Why it matters: with CIFAR-100, GTSRB or Tiny ImageNet the target class of a backdoor is another class after
# the split, and labels no longer fit a model, a list of class names or CLIP prompts made from the original
# numbers.
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
pins="datasets==4.8.5 numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys

import datasets

print("datasets", datasets.__version__)
labels = list(range(12))
encoded = datasets.Dataset.from_dict({"label": labels}).class_encode_column("label")
print("labels before ", labels)
print("labels after  ", encoded["label"][:])
print("class names   ", encoded.features["label"].names)
few = datasets.Dataset.from_dict({"label": labels[:10]}).class_encode_column("label")
print("with ten classes", few["label"][:])
as_described = encoded["label"][2] == 4 and encoded["label"][10] == 2 and few["label"][:] == labels[:10]
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
