#!/usr/bin/env bash
# open_clip: the same weights get another normalization when they are loaded from a file.
#
# Expected: create_model_and_transforms is documented to return a model and the preprocessing that goes with
# it; pretrained may be a tag or the path of a checkpoint.
#
# Instead: mean, standard deviation, interpolation and the way of resizing belong to the tag, not to the
# architecture. By path the same checkpoint gets OpenAI's values, without a warning: MobileCLIP2-S0 wants
# pixels in [0, 1] and gets them shifted by half and divided by 0.27. The same goes for SigLIP, CLIPA and PE
# models.
#
# Why it matters: on machines without network (clusters, CI) CLIP teachers are loaded by path. The teacher is
# then weaker for no visible reason, and a distillation defense with it.
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
pins="open_clip_torch==3.3.0 timm==1.0.31 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6"
# shellcheck disable=SC2086
venv/bin/python -m pip install --quiet --no-compile $pins || exit 2

status=0
venv/bin/python - <<'EOF' || status=$?
import logging
import sys

import open_clip
import torch

logging.disable(logging.WARNING)
print("open_clip", open_clip.__version__)
name, tag = "MobileCLIP2-S0", "dfndr2b"
wanted = open_clip.get_pretrained_cfg(name, tag)
model = open_clip.create_model(name)  # random weights stand in for the download
torch.save(model.state_dict(), "weights.pt")
_, _, preprocess = open_clip.create_model_and_transforms(name, pretrained="weights.pt")
normalize = preprocess.transforms[-1]
print("by tag: mean", wanted["mean"], "std", wanted["std"], "interpolation", wanted["interpolation"])
print("by path: mean", tuple(normalize.mean), "std", tuple(normalize.std),
      "interpolation", preprocess.transforms[0].interpolation.value)
other = sum(
    tuple(open_clip.get_pretrained_cfg(m, t).get("mean", ())) != open_clip.OPENAI_DATASET_MEAN
    for m, t in open_clip.list_pretrained()
)
print(f"{other} of {len(open_clip.list_pretrained())} tags want another mean than OpenAI's")
as_described = tuple(wanted["mean"]) == (0.0, 0.0, 0.0) and tuple(normalize.mean) == open_clip.OPENAI_DATASET_MEAN
sys.exit(0 if as_described else 3)
EOF
case $status in 0) exit 0 ;; 3) exit 1 ;; *) exit 2 ;; esac
