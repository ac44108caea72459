#!/usr/bin/env bash
# flwr: Multi-Krum weights the selected updates by their numbers of examples.
#
# Expected: Multi-Krum is the plain mean of the m updates with the best scores (Blanchard et al., 2017); the
# documentation of the strategy refers to that paper.
#
# Instead: the selected updates are averaged by the number of examples each client reports, in both of
# Flower's interfaces.
#
# Why it matters: the paper's guarantee is for a server that need not believe what clients say of themselves;
# a comparison with another library's Multi-Krum differs wherever clients differ in size, as they do in every
# Dirichlet partition.
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
import sys

import flwr
import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.server.strategy.aggregate import aggregate_krum
from flwr.serverapp.strategy.multikrum import select_multikrum
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

print("flwr", flwr.__version__)
values, examples = [0.0, 0.1, 0.2, 0.3, 9.0], [100, 100, 100, 900, 100]
old = aggregate_krum([([np.array([v])], n) for v, n in zip(values, examples)], 1, 4)[0].item()
replies = [
    RecordDict({"arrays": ArrayRecord({"w": Array(np.array([v]))}), "metrics": MetricRecord({"num-examples": n})})
    for v, n in zip(values, examples)
]
chosen = select_multikrum(replies, num_malicious_nodes=1, num_nodes_to_select=4)
new = aggregate_arrayrecords(chosen, "num-examples")["w"].numpy().item()
print("updates", values, "of clients with", examples, "examples, f = 1, m = 4")
print("paper: mean of 0.0, 0.1, 0.2, 0.3 =", np.mean(values[:4]))
print("flwr.server.strategy:", old, "| flwr.serverapp.strategy:", new)
as_described = abs(old - 0.25) < 1e-6 and abs(new - 0.25) < 1e-6
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
