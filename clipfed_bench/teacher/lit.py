"""Locked-image tuning: a pre-trained image tower is frozen, and a text tower learns to speak of what it sees.

Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning", CVPR 2022, the setting "Lu" (image tower locked,
text tower from scratch), on the server's captioned images with the loss of :mod:`.contrastive`. The result is a dual
encoder of open_clip like any other.

Deviations: the image tower keeps a linear projection that is trained, too, on features that are centered and scaled
first (which is folded into it), since a few hundred images do not move a text tower to where raw features lie. The
logit scale is calibrated on held-out server images (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
temperature scaling), so that its probabilities are shares of hits.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipfed_bench.core.sources import code
from clipfed_bench.core.work_counts import counted
from clipfed_bench.teacher.contrastive import (
    MAX_LOGIT_SCALE,
    Progress,
    check_size,
    fit,
    new_model,
    one_thread,
    stratified_split,
    tokenizer,
)
from clipfed_bench.teacher.features import TensorCache, digest
from clipfed_bench.teacher.lit_recipe import LitRecipe
from clipfed_bench.teacher.preprocess import unit_range
from clipfed_bench.teacher.prompts import TEMPLATES, prompts
from clipfed_bench.teacher.recipe import TEXT_TOWER
from clipfed_bench.teacher.teacher import batch_size, text_prototypes
from clipfed_bench.teacher.tower_weights import FrozenTower, load_tower
from clipfed_bench.teacher.trained import TrainedTeacher, check_out, facts, write_teacher
from clipfed_bench.toolbox.images import ServerData

EMBED_DIM = 256
"""Entries of a feature of the dual encoder [ours]."""


@counted("teacher")
def tune_teacher(
    server: ServerData,
    classes: Sequence[str],
    recipe: LitRecipe,
    out: Path,
    cache: TensorCache,
    progress: Progress | None = None,
) -> TrainedTeacher:
    """Tune on ``server`` and write ``out``, as :func:`.train.train_teacher` does, with ``open_clip_config.json``.

    The tower's features are stored in ``cache`` by content. ``progress`` counts batches of images, then epochs.
    The metadata has the tower's origin and sha256, and the logit scale before and after calibration.

    Raises TeacherError as train_teacher does, and where the tower's weights cannot be had.
    """
    check_out(out, alone=True)
    start, labels = time.perf_counter(), server.data.labels
    training, held_out = stratified_split(labels, len(classes), recipe.holdout, recipe.seed, recipe.per_class)
    recipe = recipe.resolved(len(training))
    schedule = recipe.schedule()
    check_size(training, schedule.batch_size)
    with one_thread():
        tower = load_tower(recipe.where, recipe.image_size)
        chosen = torch.cat([training, held_out]).sort().values
        batches = math.ceil(len(chosen) / batch_size(tower.preprocess.size))
        steps = batches + schedule.epochs

        def told(done: int) -> None:
            if progress is not None:
                progress(done, steps)

        told(0)
        # 1. What the frozen tower sees of each image, once.
        features = tower_features(tower, server.data.images[chosen], cache, told)
        seen = torch.zeros(len(labels), features.shape[1]).index_copy_(0, chosen, features)
        # 2. Text tower and projection learn, on features of mean 0 and spread 1.
        mean, spread = seen[training].mean(0), seen[training].std()
        model = new_model(model_config(tower), recipe.seed)
        projection = _projection(model, tower)
        seen = (seen - mean) / spread

        def encode(rows: Tensor, random: torch.Generator) -> Tensor:
            return F.normalize(projection(seen[rows]), dim=1)

        parameters = [p for name, p in model.named_parameters() if not name.startswith("visual.trunk.")]
        fit(model, encode, parameters, server, classes, training, schedule, lambda epoch: told(batches + epoch))
        # 3. The logit scale is set on images that nothing was trained on.
        with torch.no_grad():
            cosines = F.normalize(projection(seen[held_out]), dim=1) @ _prototypes(model, classes).T
            scale = {"learned": _scale(model).exp().item(), "calibrated": calibrated_scale(cosines, labels[held_out])}
            _scale(model).fill_(math.log(scale["calibrated"]))
            # 4. Centering and scaling become part of the projection.
            projection.weight.div_(spread)
            projection.bias.sub_(projection.weight @ mean)
    metadata = facts(server, tuple(classes), recipe, (len(training), len(held_out)))
    metadata |= {
        "held_out_accuracy": float((cosines.argmax(1) == labels[held_out]).double().mean()),
        "tower": {"name": recipe.tower, "origin": tower.origin, "sha256": tower.sha256},
        "logit_scale": scale,
        "seconds": round(time.perf_counter() - start, 1),
    }
    name = f"clipfed-lit-{tower.architecture}-{tower.preprocess.size[0]}"
    images = asdict(tower.preprocess)
    del images["size"]  # the architecture's configuration has it
    return write_teacher(out, model, name, model_config(tower), metadata, images)


def _projection(model: nn.Module, tower: FrozenTower) -> nn.Linear:
    """The new projection of ``model``, whose trunk becomes that of ``tower``."""
    visual: Any = model.visual
    visual.trunk.load_state_dict(tower.trunk.state_dict())
    layer: nn.Linear = visual.head.proj
    return layer


def _scale(model: nn.Module) -> Tensor:
    """The logarithm of the logit scale."""
    return model.get_parameter("logit_scale")


def _prototypes(model: nn.Module, classes: Sequence[str]) -> Tensor:
    """(C, D) of the ``simple`` template, in evaluation mode."""
    context: Any = model.context_length
    return text_prototypes(model.eval(), tokenizer(context)(prompts(classes, TEMPLATES["simple"])), len(classes))


def tower_features(tower: FrozenTower, images: Tensor, cache: TensorCache, told: Callable[[int], None]) -> Tensor:
    """(N, 3, H, W) uint8 -> (N, D) float32, of the tower alone; from ``cache`` where it has them.

    ``told`` hears how many batches are done.
    """

    @torch.no_grad()
    def compute() -> dict[str, Tensor]:
        found = []
        for number, batch in enumerate(torch.split(images, batch_size(tower.preprocess.size)), 1):
            inputs = tower.preprocess(unit_range(batch)).contiguous(memory_format=torch.channels_last)
            found.append(tower.trunk(inputs))
            told(number)
        return {"features": torch.cat(found)}

    setup = json.dumps([tower.architecture, asdict(tower.preprocess)])
    key = f"tower-{digest('tower 1', tower.sha256, setup, images)}"
    return cache.get(key, compute, lambda stored: len(stored.get("features", ())) == len(images))["features"]


def calibrated_scale(cosines: Tensor, labels: Tensor) -> float:
    """The scale in [1, 100] at which scale · ``cosines`` (N, C) have the least cross-entropy to ``labels`` (N,)."""
    from scipy.optimize import minimize_scalar

    def loss(log: float) -> float:
        return F.cross_entropy(math.exp(log) * cosines.double(), labels).item()

    found = minimize_scalar(loss, bounds=(0.0, math.log(MAX_LOGIT_SCALE)), method="bounded")
    return math.exp(float(found.x))


def model_config(tower: FrozenTower) -> dict[str, Any]:
    """The open_clip configuration: the tower with a linear projection, and the text transformer of a local teacher."""
    return {
        "embed_dim": EMBED_DIM,
        "vision_cfg": {
            "timm_model_name": tower.architecture,
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "timm_proj_bias": True,
            "image_size": tower.preprocess.size[0],
        },
        "text_cfg": dict(TEXT_TOWER),
    }


def lit_key(server: ServerData, classes: Sequence[str], recipe: LitRecipe, weights: str) -> str:
    """Cache key of the teacher that ``recipe``, the code, and the tower's ``weights`` (sha256) make of ``server``."""
    parts = {"recipe": asdict(recipe), "classes": list(classes)}
    made_by = code("clipfed_bench.teacher.lit")
    return digest("lit teacher 1", made_by, weights, server.content_hash, json.dumps(parts, sort_keys=True))[:24]
