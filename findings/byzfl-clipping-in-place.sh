#!/usr/bin/env bash
# byzfl: Clipping and ARC overwrite the updates they are given, depending on their type.
#
# Expected: a pre-aggregation rule is documented as a function from vectors to vectors; the ones handed in
# stay as they were. The other rules (NNM, Bucketing) leave them alone.
#
# Instead: Clipping and ARC write into a NumPy array and into a float32 tensor, and leave a float64 tensor and
# lists alone, of which they make a copy first.
#
# Why it matters: whoever compares defenses on one set of updates compares all later ones on clipped updates;
# norms that are logged after aggregation never exceed the threshold, so that an attack by scaling looks
# harmless.
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
pins="byzfl==0.0.11 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6"
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
import byzfl  # noqa: E402

print("byzfl", version("byzfl"))


def norms_after(rule, updates):
    rule(updates)
    return [round(float(np.linalg.norm(np.asarray(u))), 3) for u in updates]


base = np.array([[3.0, 4.0], [0.3, 0.4], [0.6, 0.8], [30.0, 40.0]])
forms = {
    "NumPy array": lambda: base.copy(),
    "float32 tensor": lambda: torch.tensor(base, dtype=torch.float32),
    "float64 tensor": lambda: torch.tensor(base),
    "list of arrays": lambda: list(base.copy()),
}
print("norms before:", [5.0, 0.5, 1.0, 50.0])
changed = {}
for rule in (byzfl.Clipping(c=2.0), byzfl.ARC(f=1), byzfl.NNM(f=1)):
    for form, make in forms.items():
        norms = norms_after(rule, make())
        changed[type(rule).__name__, form] = norms != [5.0, 0.5, 1.0, 50.0]
        print(f"the caller's {form} after {type(rule).__name__}: {norms}")
as_described = all(
    changed[rule, form] == (rule != "NNM" and form in ("NumPy array", "float32 tensor")) for rule, form in changed
)
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
