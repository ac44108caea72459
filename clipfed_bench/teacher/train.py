"""Training of a small open_clip dual encoder on the server's captioned images, for machines without CLIP.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, made small, with
the loss of :mod:`.contrastive`. Training runs on one thread, so equal data, recipe and library versions give equal
weights on a machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn

from clipfed_bench.core.sources import code
from clipfed_bench.core.work_counts import counted
from clipfed_bench.teacher.augment import augment
from clipfed_bench.teacher.contrastive import (
    Progress,
    check_size,
    fit,
    new_model,
    one_thread,
    stratified_split,
    tokenizer,
)
from clipfed_bench.teacher.features import digest
from clipfed_bench.teacher.preprocess import Preprocess, unit_range
from clipfed_bench.teacher.prompts import TEMPLATES, prompts
from clipfed_bench.teacher.recipe import Recipe
from clipfed_bench.teacher.teacher import embed_images, text_prototypes
from clipfed_bench.teacher.trained import TrainedTeacher, check_out, facts, write_teacher
from clipfed_bench.toolbox.images import Images, ServerData


@counted("teacher")
def train_teacher(
    server: ServerData, classes: Sequence[str], recipe: Recipe, out: Path, progress: Progress | None = None
) -> TrainedTeacher:
    """Train on ``server`` and write ``out`` (a ``.safetensors`` open_clip checkpoint). ``progress`` counts epochs.

    Beside it go ``<model name>.json`` (open_clip's model configuration) and ``<stem>.train.json``: held-out zero-shot
    accuracy in [0, 1] (a ``recipe.holdout`` share of each class, never trained on), recipe, seed and data hash.

    Raises TeacherError: fewer than two images of a class, fewer images than a batch, ``out`` of another kind, or
    training that diverges.
    """
    check_out(out)
    recipe = recipe.resolved(classes, len(server.data))
    training, held_out = stratified_split(server.data.labels, len(classes), recipe.holdout, recipe.seed)
    assert recipe.image_size is not None
    schedule = recipe.schedule()
    check_size(training, schedule.batch_size)
    report = progress or (lambda done, total: None)
    report(0, schedule.epochs)
    start = time.perf_counter()
    with one_thread():
        model = new_model(recipe.model_config(), recipe.seed)
        preprocess = Preprocess.of(open_clip.transform.PreprocessCfg(size=recipe.image_size).__dict__)

        def encode(rows: Tensor, random: torch.Generator) -> Tensor:
            images = preprocess(augment(unit_range(server.data.images[rows]), recipe, random))
            features: Tensor = model.encode_image(  # type: ignore[operator]
                images.contiguous(memory_format=torch.channels_last), normalize=True
            )
            return features

        def done(epoch: int) -> None:
            report(epoch, schedule.epochs)

        fit(model, encode, model.parameters(), server, classes, training, schedule, done)
        accuracy = zero_shot_accuracy(model, preprocess, server.data.take(held_out), classes)
    metadata = facts(server, tuple(classes), recipe, (len(training), len(held_out)))
    metadata |= {"held_out_accuracy": accuracy, "seconds": round(time.perf_counter() - start, 1)}
    return write_teacher(out, model, recipe.model_name, recipe.model_config(), metadata, {})


def local_key(server: ServerData, classes: Sequence[str], recipe: Recipe) -> str:
    """Cache key of the teacher that ``recipe``, and the code that trains, make of ``server``."""
    recipe = recipe.resolved(classes, len(server.data))
    parts = {"recipe": asdict(recipe), "model": recipe.model_config(), "classes": list(classes)}
    made_by = code("clipfed_bench.teacher.train")
    return digest("local teacher 1", made_by, server.content_hash, json.dumps(parts, sort_keys=True))[:24]


def zero_shot_accuracy(model: nn.Module, preprocess: Preprocess, data: Images, classes: Sequence[str]) -> float:
    """Top-1 accuracy in [0, 1] of the ``simple`` template on ``data``."""
    tokens = tokenizer(model.context_length)(prompts(classes, TEMPLATES["simple"]))  # type: ignore[arg-type]
    model.eval()
    with torch.no_grad():
        features = embed_images(model, preprocess, data.images)
        predicted = (features @ text_prototypes(model, tokens, len(classes)).T).argmax(1)
    return float((predicted == data.labels).double().mean())
