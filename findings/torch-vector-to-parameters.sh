#!/usr/bin/env bash
# torch: training a client changes the global vector that vector_to_parameters loaded it from.
#
# Expected: torch.nn.utils.vector_to_parameters is documented to copy slices of a vector into parameters. The
# vector stays as it is.
#
# Instead: the parameters become views of the vector. An optimizer's step on the model writes into the vector,
# and models loaded from one vector share their weights.
#
# Why it matters: a simulator that keeps the global model as one flat vector and loads each client from it
# trains all clients one after the other on the same weights: each client starts where the one before stopped,
# the last "update" is zero against the moved vector, and Krum, FLAME or FoolsGold see nothing of what they
# should.
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
pins="torch==2.13.0 numpy==2.4.6"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

print("torch", torch.__version__.split("+")[0])
torch.manual_seed(0)
world = parameters_to_vector(nn.Linear(3, 2).parameters()).detach()
before = world.clone()
starts = []
for _ in range(2):
    client = nn.Linear(3, 2)
    vector_to_parameters(world, client.parameters())
    starts.append(parameters_to_vector(client.parameters()).detach().clone())
    optimizer = torch.optim.SGD(client.parameters(), lr=0.1)
    client(torch.ones(1, 3)).sum().backward()
    optimizer.step()
moved = (world - before).abs().max().item()
apart = (starts[1] - starts[0]).abs().max().item()
print(f"two clients, one step of 0.1 each; the global vector moved by {moved:.2f}")
print(f"the second client's start differs from the first's by {apart:.2f}")
as_described = abs(moved - 0.2) < 1e-5 and abs(apart - 0.1) < 1e-5
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
