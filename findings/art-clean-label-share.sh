#!/usr/bin/env bash
# Adversarial Robustness Toolbox: the clean-label backdoor poisons fewer images than asked for.
#
# Expected: pp_poison is documented as the share of the target class's data that is poisoned. With 200 images
# of the target class and pp_poison = 0.5, 100 images are poisoned.
#
# Instead: the images are drawn with replacement. Those drawn twice are poisoned once: about 1 - exp(-p) of
# the class instead of p, here 39 % instead of 50 % and 60 % instead of 90 %.
#
# Why it matters: the poisoning ratio is the first thing that attacks are compared by, and it is smaller than
# the number in the table, by more the larger it is.
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
pins="adversarial-robustness-toolbox==1.20.1 packaging==25.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import contextlib
import io
import logging
import sys
import warnings
from importlib.metadata import version

import numpy as np
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("ignore")
from art.attacks.poisoning import PoisoningAttackBackdoor, PoisoningAttackCleanLabelBackdoor  # noqa: E402
from art.estimators.classification import SklearnClassifier  # noqa: E402

logging.getLogger("art").setLevel(logging.ERROR)
print("adversarial-robustness-toolbox", version("adversarial-robustness-toolbox"))
rng = np.random.default_rng(0)
labels = np.repeat([0, 1], 200)
images = rng.random((400, 64)).astype(np.float32)
images[labels == 1, :8] = np.minimum(images[labels == 1, :8] + 0.5, 1)
one_hot = np.eye(2)[labels]
proxy = SklearnClassifier(LogisticRegression().fit(images, labels), clip_values=(0, 1))


def stamp(batch):
    batch[:, -1] = 1
    return batch


poisoned = {}
for share in (0.1, 0.5, 0.9):
    np.random.seed(0)
    backdoor = PoisoningAttackBackdoor(stamp)
    options = {"target": np.array([0, 1]), "max_iter": 1, "eps": 0.1, "eps_step": 0.1}
    attack = PoisoningAttackCleanLabelBackdoor(backdoor, proxy, pp_poison=share, **options)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        changed = attack.poison(images, one_hot)[0]
    poisoned[share] = int((changed[:, -1] == 1).sum())
    print(f"pp_poison={share}: {int(share * 200)} of 200 images asked for, {poisoned[share]} poisoned")
as_described = poisoned[0.5] < 85 and poisoned[0.9] < 135
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
