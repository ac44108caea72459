#!/usr/bin/env bash
# rliable: the interquartile mean of up to three runs is the mean, of five it is the middle three.
#
# Expected: the interquartile mean is documented as the mean of the middle 50 % of the scores, a quarter
# discarded at each end, and recommended for few runs because an outlier does not move it (Agarwal et al.,
# 2021).
#
# Instead: a quarter is rounded down to whole runs without weighting the ones at the border. With one task,
# three runs lose none (the outlier counts in full), five lose one at each end (the middle 60 %), seven too
# (the middle 71 %).
#
# Why it matters: three seeds are the custom of this field. A table that says IQM then has means in it, and
# two tables with three and four seeds are of different estimators.
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
pins="rliable==1.2.0 numpy==2.4.6 scipy==1.17.1 arch==7.2.0"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys

import numpy as np
from importlib.metadata import version
from rliable import metrics

print("rliable", version("rliable"))
scores = [0.90, 0.91, 0.10, 0.92, 0.89, 0.93, 0.88]
used = {}
for n in range(3, 8):
    runs = np.array(scores[:n])[:, None]
    iqm = metrics.aggregate_iqm(runs)
    ordered = np.sort(runs.ravel())
    used[n] = next(n - 2 * cut for cut in range(n) if abs(ordered[cut : n - cut].mean() - iqm) < 1e-12)
    print(f"{n} runs {scores[:n]}: IQM {iqm:.4f}, mean {runs.mean():.4f}; runs averaged: {used[n]} of {n}")
as_described = used == {3: 3, 4: 2, 5: 3, 6: 4, 7: 5}
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
