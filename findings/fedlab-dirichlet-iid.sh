#!/usr/bin/env bash
# FedLab: the Dirichlet partition with given client sizes is IID, whatever alpha.
#
# Expected: client_inner_dirichlet_partition is documented to draw each client's classes from a Dirichlet
# distribution of parameter alpha (Acar et al., 2021) and to return the indices of its samples. With alpha =
# 0.1 and ten classes, two thirds of a client's samples are of one class.
#
# Instead: the indices returned are places in a shuffled copy of the labels, not in the data set. Looked up in
# the data set they are random samples: each client has all classes in equal parts. The array of client sizes
# handed in is also set to zero.
#
# Why it matters: an experiment "with alpha = 0.1" that uses it runs on IID data, the easy case of most
# defenses.
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
pins="fedlab==1.3.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys
import warnings
from importlib.metadata import version

import numpy as np

warnings.simplefilter("ignore")
from fedlab.utils.dataset.functional import client_inner_dirichlet_partition, hetero_dir_partition  # noqa: E402

print("fedlab", version("fedlab"))
labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 500))
np.random.seed(0)
sizes = np.full(10, 100)
inner = client_inner_dirichlet_partition(labels, 10, 10, 0.1, sizes, verbose=False)
outer = hetero_dir_partition(labels, 10, 10, 0.1)


def largest_share(parts):
    return [round(float(np.bincount(labels[part], minlength=10).max() / len(part)), 2) for part in parts.values()]


print("share of each client's most frequent of ten classes, alpha = 0.1:")
print("client_inner_dirichlet_partition:", largest_share(inner))
print("hetero_dir_partition:            ", largest_share(outer))
print("client sizes handed in, afterwards:", sizes)
as_described = np.mean(largest_share(inner)) < 0.25 and np.mean(largest_share(outer)) > 0.4 and not sizes.any()
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
