#!/usr/bin/env bash
# OpenFL: the geometric median's iteration runs to one client's update.
#
# Expected: Weiszfeld's algorithm, which the function names, weights each update by its own weight over its
# distance to the current estimate, and comes to the point with the least sum of distances. More iterations
# come closer.
#
# Instead: the new weights are divided by the distance and kept, so that distances are divided out again in
# each iteration. From the third iteration on the sum of distances grows, and the end is exactly one client's
# update. The aggregation stops after four iterations, which hides most of it.
#
# Why it matters: a robust mean over all clients turns into the choice of a single one. Raising maxiter, the
# natural thing to do for precision, makes it worse.
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
pins="openfl==1.9 numpy==2.4.6 scipy==1.17.1"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys
from importlib.metadata import version

import numpy as np
from openfl.interface.aggregation_functions.geometric_median import geometric_median
from scipy.optimize import minimize

print("openfl", version("openfl"))
updates = np.random.default_rng(0).normal(size=(9, 4))
updates[7:] += 20  # two outliers


def distances(point):
    return np.linalg.norm(updates - point, axis=1)


exact = minimize(lambda p: distances(p).sum(), np.median(updates, axis=0), method="Nelder-Mead",
                 options={"maxiter": 20000, "xatol": 1e-9, "fatol": 1e-12}).x
print(f"exact: sum of distances {distances(exact).sum():.3f}, nearest client at {distances(exact).min():.3f}")
sums, nearest = {}, {}
for n in (2, 4, 10, 50):
    point = geometric_median(updates, np.ones(9), maxiter=n, ftol=0)
    sums[n], nearest[n] = distances(point).sum(), distances(point).min()
    print(f"openfl, {n} iterations: sum of distances {sums[n]:.3f}, nearest client at {nearest[n]:.2g}")
as_described = sums[2] < sums[4] < sums[50] and nearest[50] < 1e-9 and distances(exact).min() > 0.1
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
