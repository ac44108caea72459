#!/usr/bin/env bash
# torchsampler: with indices in any but ascending order, ImbalancedDatasetSampler leaves a long tail as it is.
#
# Expected: the sampler draws the classes equally often. Its argument indices is documented as a list of
# indices, without a word on their order; labels gives their classes.
#
# Instead: the weights are sorted by index, the indices are not, so that each weight belongs to some other
# sample. A client's share with 1000, 100 and 10 samples of its classes is drawn as one third each if its
# indices ascend, and 90, 6 and 4 % if they are shuffled.
#
# Why it matters: many partitions shuffle what they deal out, so that a client's indices do not ascend. What is
# reported as training on rebalanced classes is training on the long tail, with ten samples taken at random,
# mostly of the head, repeated a hundred times as often as most.
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
pins="torchsampler==0.1.2 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 pandas==2.3.3"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import sys
from importlib.metadata import version

import numpy as np
import torch
from torchsampler import ImbalancedDatasetSampler

print("torchsampler", version("torchsampler"))
torch.manual_seed(0)
labels = np.repeat(np.arange(3), [1000, 100, 10])
data = torch.utils.data.TensorDataset(torch.zeros(1110, 1), torch.tensor(labels))
shares = {}
for order, indices in (
    ("ascending", np.arange(1110)),
    ("shuffled", np.random.default_rng(0).permutation(1110)),
):
    sampler = ImbalancedDatasetSampler(
        data, labels=labels[indices].tolist(), indices=indices.tolist(), num_samples=30000
    )
    shares[order] = np.bincount(labels[list(sampler)], minlength=3) / 30000
    print(f"{order} indices of 1000, 100 and 10 samples: classes are drawn", shares[order].round(3))
as_described = np.allclose(shares["ascending"], 1 / 3, atol=0.02) and shares["shuffled"][0] > 0.8
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
