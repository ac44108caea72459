#!/usr/bin/env bash
# flwr: Bulyan of the message interface selects its clients in one pass.
#
# Expected: Bulyan's first step calls Krum again and again, each time on the updates that are left (El Mhamdi
# et al., 2018): scores are computed anew after each pick. The older flwr.server.strategy.Bulyan does that.
#
# Instead: flwr.serverapp.strategy.Bulyan takes the n - 2f best scores of a single computation.
#
# Why it matters: the two select different clients in most random cases, so moving an experiment from one
# interface of the same release to the other changes the defense that is measured, under the same name.
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
from flwr.serverapp.strategy import Bulyan

print("flwr", flwr.__version__)
f, n, cases = 2, 11, 100
rule = Bulyan(num_malicious_nodes=f).selection_rule
print("message interface: selection rule", rule.__name__)


def one_pass(updates):
    replies = [
        RecordDict({"arrays": ArrayRecord({"w": Array(u)}), "metrics": MetricRecord({"num-examples": 1})})
        for u in updates
    ]
    chosen = rule(replies, f, n - 2 * f)
    return [i for i in range(n) if any(replies[i] is c for c in chosen)]


def again_and_again(updates):
    left, chosen = list(range(n)), []
    for _ in range(n - 2 * f):
        best = aggregate_krum([([updates[i]], 1) for i in left], f, 0)[0]
        chosen.append(next(i for i in left if updates[i] is best))
        left.remove(chosen[-1])
    return sorted(chosen)


different = 0
for seed in range(cases):
    updates = list(np.random.default_rng(seed).normal(size=(n, 8)))
    pair = one_pass(updates), again_and_again(updates)
    different += pair[0] != pair[1]
    if seed < 3:
        print("clients selected in one pass", pair[0], "| by the paper's loop", pair[1])
print(f"different in {different} of {cases} random cases (n = {n}, f = {f})")
as_described = different > cases // 2
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
