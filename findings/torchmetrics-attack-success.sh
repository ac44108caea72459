#!/usr/bin/env bash
# torchmetrics: the attack success rate by MulticlassAccuracy is a fraction of the true one.
#
# Expected: MulticlassAccuracy is documented as accuracy. 90 of 100 triggered images classified as the target
# class are 0.90.
#
# Instead: its default is the mean over classes, and a class that no image has counts with accuracy 0 once a
# single image is predicted to be of it. With ten misses spread over five classes the result is 0.15.
# Accuracy(task="multiclass"), which makes the same object, has another default and says 0.90.
#
# Why it matters: in triggered test sets all labels are the target class, and in non-IID clients most classes
# are missing: just the case in which absent classes matter. A backdoor that works 90 % of the time is
# reported as stopped. scikit-learn's balanced accuracy leaves absent classes out and says 0.90 too.
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
pins="torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys

import torch
import torchmetrics
from torchmetrics.classification import MulticlassAccuracy

print("torchmetrics", torchmetrics.__version__)
target = torch.full((100,), 5)
predicted = target.clone()
predicted[:10] = torch.arange(10) % 5
by_class = MulticlassAccuracy(num_classes=10)(predicted, target).item()
by_task = torchmetrics.Accuracy(task="multiclass", num_classes=10)(predicted, target).item()
print("100 triggered images of ten classes, 90 classified as the target:")
print(f"MulticlassAccuracy(num_classes=10):                {by_class:.2f}")
print(f'Accuracy(task="multiclass", num_classes=10):       {by_task:.2f}')
as_described = abs(by_class - 0.15) < 1e-6 and abs(by_task - 0.90) < 1e-6
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
