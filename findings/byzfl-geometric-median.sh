#!/usr/bin/env bash
# byzfl: the geometric median of ordinary client updates is the mean.
#
# Expected: the geometric median is the point with the least sum of distances to the updates; a minority of
# outliers moves it little. The parameter nu is documented as a smoothing parameter, 0.1 by default.
#
# Instead: all distances below nu count as nu. Updates of a trained network, with norms of about 0.1 or less,
# all lie below, so each weight is equal and the result is the mean, outliers in full. Multiplied by 1000, the
# same updates give the median.
#
# Why it matters: the defense silently is FedAvg late in training, with small learning rates or few local
# steps. Which one it is depends on the scale of the updates, on which no paper's geometric median depends.
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
pins="byzfl==0.0.11 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys
import warnings
from importlib.metadata import version

import numpy as np

warnings.simplefilter("ignore")
import byzfl  # noqa: E402

print("byzfl", version("byzfl"))
updates = np.random.default_rng(0).normal(size=(10, 1000)) * 0.001
updates[8:] += 0.002  # two outliers of ten
print("norms of the updates:", np.linalg.norm(updates, axis=1).round(3))
mean = updates.mean(axis=0)
away = {}
for scale in (1, 1000):
    result = byzfl.GeometricMedian()(updates * scale) / scale
    away[scale] = np.linalg.norm(result - mean) / np.linalg.norm(mean)
    print(f"updates times {scale}: distance of the result from the mean, of the mean's norm: {away[scale]:.2g}")
as_described = away[1] < 1e-9 and away[1000] > 0.02
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
