#!/usr/bin/env bash
# flwr: FedAvg makes integer arrays zero.
#
# Expected: FedAvg is the mean of the clients' arrays weighted by their numbers of examples (McMahan et al.,
# Algorithm 1). Two clients that both send 7 give 7. The option inplace is documented as a way to aggregate in
# place.
#
# Instead: with inplace=True, the default, each client's share (0.25, 0.75) is rounded to the array's integer
# type, which is 0, before it is multiplied. All integer arrays come out as zeros. With inplace=False they are
# averaged.
#
# Why it matters: a PyTorch state dictionary has an integer array for each batch normalization layer
# (num_batches_tracked); it falls back to zero every round, which changes layers with momentum=None. Updates
# quantized to integers vanish altogether.
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

import flwr
import numpy as np
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import FedAvg

logging.getLogger("flwr").setLevel(logging.ERROR)
print("flwr", flwr.__version__)
arrays = [np.array([1.5, 1.5], np.float32), np.array(7), np.array([5, -5], np.int16)]
replies = [(None, FitRes(Status(Code.OK, ""), ndarrays_to_parameters(arrays), n, {})) for n in (10, 30)]
print("each of two clients sends ", arrays)
means = {}
for inplace in (True, False):
    means[inplace] = parameters_to_ndarrays(FedAvg(inplace=inplace).aggregate_fit(1, replies, [])[0])
    print(f"FedAvg(inplace={inplace}) gives", means[inplace])
as_described = (
    np.allclose(means[True][0], 1.5) and means[True][1] == 0 and not means[True][2].any() and means[False][1] == 7
)
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
