#!/usr/bin/env bash
# FedArtML: clients of one class each, all different, have an earth mover's distance of 0.
#
# Expected: the distance between clients' label distributions is 0 only if they are equal, and grows with
# skew. create_clients reports it, beside the Jensen-Shannon and the Hellinger distance, as a measure of
# heterogeneity of the labels' distribution among clients.
#
# Instead: the clients' percentages are handed to SciPy as if they were observed values, so that it compares
# each client's sorted percentages and never which class they belong to. Ten clients of one class each are as
# alike as can be; an IID partition is further apart than that, by chance alone.
#
# Why it matters: the loss of accuracy under skew is commonly explained by this distance (Zhao et al., 2018).
# A benchmark that chooses or reports partitions by it takes the most extreme one for IID.
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
pins="FedArtML==0.1.34 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys
import warnings
from importlib.metadata import version

import numpy as np

warnings.simplefilter("ignore")
from fedartml import SplitAsFederatedData  # noqa: E402

print("FedArtML", version("FedArtML"))
labels = np.random.default_rng(0).permutation(np.arange(10).repeat(200)).tolist()
images = [[0.0]] * 2000
found = {}
for percent in (0, 50, 100):
    distances = SplitAsFederatedData(random_state=0).create_clients(
        images, labels, num_clients=10, method="percent_noniid", percent_noniid=percent
    )[3]["without_class_completion"]
    found[percent] = {name: float(distances[name]) for name in ("jensen-shannon", "hellinger", "earth-movers")}
    print(f"ten clients, {percent} % not IID:", ", ".join(f"{name} {d:.3f}" for name, d in found[percent].items()))
as_described = (
    found[100]["jensen-shannon"] > 0.99
    and found[100]["earth-movers"] < 1e-6
    and found[0]["earth-movers"] > 0.05
)
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
