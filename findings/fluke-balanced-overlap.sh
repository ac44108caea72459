#!/usr/bin/env bash
# fluke: clients of the balanced Dirichlet partition share samples and hold some twice.
#
# Expected: a partition gives each sample to one client at most. label_dirichlet_skew documents balanced=True
# as ensuring a balanced distribution of the examples.
#
# Instead: clients with too few samples are filled up from all samples that no earlier client has, their own
# and later clients' included. Here 5000 places hold 4428 different samples; the filling is uniform over
# classes too.
#
# Why it matters: clients that share images have updates that are alike for no reason of theirs, which
# FoolsGold and other similarity-based defenses punish; a tenth of the data is never trained on; a poisoned
# image may be trained on as a clean one elsewhere.
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
pins="fluke-fl==0.8.1 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch

warnings.simplefilter("ignore")
from fluke.data import DataSplitter  # noqa: E402

print("fluke-fl", version("fluke-fl"))
labels = torch.arange(10).repeat_interleave(500)
images = torch.zeros(5000, 1)
counts = {}
for balanced in (False, True):
    np.random.seed(0)
    parts = DataSplitter.label_dirichlet_skew(
        images, labels, None, None, 10, beta=0.5, min_ex_class=0, balanced=balanced
    )[0]
    everyone = np.concatenate(parts)
    twice = sum(len(part) - len(np.unique(part)) for part in parts)
    counts[balanced] = (len(everyone), len(np.unique(everyone)), twice)
    print(f"balanced={balanced}: {counts[balanced][0]} places, {counts[balanced][1]} different samples,",
          f"{twice} held twice by one client")
as_described = counts[False] == (5000, 5000, 0) and counts[True][1] < 4800 and counts[True][2] > 0
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
