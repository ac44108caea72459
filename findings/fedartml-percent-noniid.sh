#!/usr/bin/env bash
# FedArtML: with more clients than classes the skewed half of the data is one client's, and IID.
#
# Expected: percent_noniid=50 deals half of the data out by class and the other half at random, as in the
# paper it cites (Hsieh et al., 2020), so that clients' labels differ whatever the number of clients.
#
# Instead: each client is given as many classes as classes divided by clients, rounded down, which is none for
# 20 clients and 10 classes, and the last client gets all that is left: half of the data, of all classes alike.
# The other half, which is IID, is shared by all 20. The distance between the clients' labels is 0.52 for 10 clients; for 20 it is
# 0.18, as when the data are dealt at random to clients of these sizes.
#
# Why it matters: ten classes and twenty or a hundred clients are the usual setting. What is reported as 50 %
# label skew is none but a quantity skew; under FedAvg's weighting one client, honest or not, has half of
# the say.
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
from fedartml.function_base import jensen_shannon_distance  # noqa: E402

print("FedArtML", version("FedArtML"))
labels = np.random.default_rng(0).permutation(np.arange(10).repeat(200))
skew, shares = {}, {}
for clients in (10, 20):
    parts, *_, distances = SplitAsFederatedData(random_state=0).create_clients(
        [[0.0]] * 2000, labels.tolist(), num_clients=clients, method="percent_noniid", percent_noniid=50
    )
    shares[clients] = [
        np.bincount([label for _, label in part], minlength=10)
        for part in parts["without_class_completion"].values()
    ]
    skew[clients] = distances["without_class_completion"]["jensen-shannon"]
    *others, last = shares[clients]
    print(f"{clients} clients, 50 % not IID: Jensen-Shannon distance {skew[clients]:.2f},",
          f"last client has {last.sum()} of 2000, its largest class {last.max() / last.sum():.0%},",
          f"the others at most {max(other.sum() for other in others)}")
sizes = np.cumsum([share.sum() for share in shares[20]])
dealt = [np.bincount(part, minlength=10) / len(part) for part in np.split(labels, sizes[:-1])]
chance = jensen_shannon_distance(dealt)
print(f"dealt at random to 20 clients of the same sizes: Jensen-Shannon distance {chance:.2f}")
as_described = (
    skew[10] > 0.4 and skew[20] < chance + 0.05 and last.sum() > 1000 and last.max() / last.sum() < 0.15
)
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
