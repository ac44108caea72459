#!/usr/bin/env bash
# flwr: FaultTolerantFedAvg of ordinary half-precision weights is infinite.
#
# Expected: a weighted mean lies between the smallest and the largest of its values. Clients that send 100 in
# float16 (largest number 65504) give 100.
#
# Instead: each array is first multiplied by the client's number of examples in its own type, then summed, and
# only then divided: 100 times 1000 examples is infinite. FedAvg(inplace=False) and the legacy Multi-Krum take
# the same way; FedAvg's default does not.
#
# Why it matters: sending weights in half precision is the common way to halve traffic. Whether the global
# model survives then depends on how many examples the clients have: a weight of 0.5 is lost where all of them
# together have 132,000.
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
pins="flwr==1.42.0 numpy==2.4.6"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import logging
import sys
import warnings

import flwr
import numpy as np
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import FaultTolerantFedAvg, FedAvg

warnings.simplefilter("ignore", RuntimeWarning)
logging.getLogger("flwr").setLevel(logging.ERROR)
print("flwr", flwr.__version__)
means = {}
for examples in (10, 1000):
    arrays = ndarrays_to_parameters([np.array([100, -100, 0.5], np.float16)])
    replies = [(None, FitRes(Status(Code.OK, ""), arrays, examples, {})) for _ in range(2)]
    for strategy in (FaultTolerantFedAvg(), FedAvg()):
        key = (type(strategy).__name__, examples)
        means[key] = parameters_to_ndarrays(strategy.aggregate_fit(1, replies, [])[0])[0]
        print(f"{key[0]}, two clients of {examples} examples, both 100, -100, 0.5 in float16:", means[key])
as_described = (
    np.isinf(means["FaultTolerantFedAvg", 1000][:2]).all()
    and np.isfinite(means["FaultTolerantFedAvg", 10]).all()
    and np.isfinite(means["FedAvg", 1000]).all()
)
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
