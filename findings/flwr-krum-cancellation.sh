#!/usr/bin/env bash
# flwr: Krum of the message interface chooses another client than the older one, by rounding.
#
# Expected: Krum's score is a sum of squared distances between updates (Blanchard et al., 2017). Both of
# Flower's interfaces document it as that paper's; given the same models they choose the same client.
#
# Instead: flwr.serverapp computes a squared distance as the sum of two squared norms minus twice the product,
# in the type of the models. For float32 models that differ by a thousandth most digits cancel, and the order
# of the scores is left to rounding. flwr.server.strategy subtracts first and agrees with float64.
#
# Why it matters: differences of a thousandth and less are what fine-tuning, small learning rates and late
# rounds have. Which client Krum takes is then arbitrary, changes with the interface, and Multi-Krum and
# Bulyan build on the same scores.
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

print("flwr", flwr.__version__)
f, n, cases = 2, 10, 30


def by_definition(models):
    models = np.array(models, np.float64)
    squares = ((models[:, None] - models[None]) ** 2).sum(axis=-1)
    return int(np.argmin(np.sort(squares, axis=1)[:, 1 : n - f - 1].sum(axis=1)))


def new(models):
    replies = [
        RecordDict({"arrays": ArrayRecord({"w": Array(m)}), "metrics": MetricRecord({"num-examples": 1})})
        for m in models
    ]
    chosen = select_multikrum(replies, num_malicious_nodes=f, num_nodes_to_select=1)[0]
    return next(i for i in range(n) if replies[i] is chosen)


def old(models):
    chosen = aggregate_krum([([m], 1) for m in models], f, 0)[0]
    return next(i for i in range(n) if models[i] is chosen)


wrong = {}
for size in (1e-1, 1e-3, 1e-4):
    wrong[size] = [0, 0]
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        start = rng.normal(size=20_000)
        models = [(start + size * u).astype(np.float32) for u in rng.normal(size=(n, start.size))]
        right = by_definition(models)
        wrong[size][0] += new(models) != right
        wrong[size][1] += old(models) != right
    print(f"float32 models, updates {size:g} times as large: another client than by the definition in",
          f"{wrong[size][0]} (flwr.serverapp) and {wrong[size][1]} (flwr.server) of {cases} rounds")
exact_before = not any(old_wrong for _, old_wrong in wrong.values())
as_described = exact_before and wrong[1e-1][0] <= 3 and wrong[1e-3][0] > 10 and wrong[1e-4][0] > 15
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
