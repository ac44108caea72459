"""Training of a small open_clip dual encoder on the server's captioned images, for machines without CLIP.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, made small. Since
many captions say the same class, every caption of an image's class counts as its positive: the loss is UniCL's (Yang
et al., "Unified Contrastive Learning in Image-Text-Label Space", CVPR 2022, Eq. 1-3). In each batch half of the images
keep their own caption and half get a random template of theirs, so that any of the templates works afterwards.

Training runs on one thread, so equal data, recipe and library versions give equal weights on a machine.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from clipfed_bench.core.errors import TeacherError, shown
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.sources import code
from clipfed_bench.core.work_counts import counted
from clipfed_bench.teacher.augment import augment
from clipfed_bench.teacher.features import digest
from clipfed_bench.teacher.preprocess import Preprocess, unit_range
from clipfed_bench.teacher.prompts import TEMPLATES, prompts
from clipfed_bench.teacher.recipe import Recipe
from clipfed_bench.teacher.teacher import embed_images, text_prototypes
from clipfed_bench.toolbox.images import Images, ServerData
from clipfed_bench.toolbox.rng import generator, stream_seed
from clipfed_bench.toolbox.tensor_files import all_finite

Progress = Callable[[int, int], None]
"""Called with (epochs done, epochs in all) before the first and after each epoch."""

MAX_LOGIT_SCALE = 100.0
"""Bound of exp(logit scale), as in CLIP."""


@dataclass(frozen=True)
class TrainedTeacher:
    """A trained checkpoint. ``metadata`` is also in the JSON file beside it."""

    model_name: str
    path: Path
    metadata: dict[str, Any]

    @property
    def spec(self) -> str:
        """What to give as ``--teacher``."""
        return f"open_clip:{self.model_name}@{self.path}"


@counted("teacher")
def train_teacher(
    server: ServerData, classes: Sequence[str], recipe: Recipe, out: Path, progress: Progress | None = None
) -> TrainedTeacher:
    """Train on ``server`` and write ``out`` (a ``.safetensors`` open_clip checkpoint).

    Beside it go ``<model name>.json`` (open_clip's model configuration) and ``<stem>.train.json``: held-out zero-shot
    accuracy in [0, 1] (a ``recipe.holdout`` share of each class, never trained on), recipe, seed and data hash.

    Raises TeacherError: fewer than two images of a class, fewer images than a batch, ``out`` of another kind, or
    training that diverges.
    """
    check_out(out)
    recipe = recipe.resolved(classes, len(server.data))
    training, held_out = stratified_split(server.data.labels, len(classes), recipe)
    assert recipe.image_size is not None
    assert recipe.batch_size is not None
    if len(training) < recipe.batch_size:
        raise TeacherError(
            f"the server data set has {len(training)} images to train a teacher on, less than a batch of "
            f"{recipe.batch_size}; give it more images, or lower batch_size."
        )
    start = time.perf_counter()
    with one_thread():
        model = new_model(recipe)
        preprocess = Preprocess.of(open_clip.transform.PreprocessCfg(size=recipe.image_size).__dict__)
        _fit(model, preprocess, server, classes, training, recipe, progress)
        if not all_finite(model.state_dict().values()):
            raise TeacherError(f"training the teacher diverged at lr {recipe.lr:g}; use a smaller one.")
        accuracy = zero_shot_accuracy(model, preprocess, server.data.take(held_out), classes, recipe)
    metadata = {
        "model": recipe.model_name,
        "held_out_accuracy": accuracy,
        "held_out_images": len(held_out),
        "training_images": len(training),
        "server_data": server.label,
        "server_data_hash": server.content_hash,
        "classes": list(classes),
        "recipe": asdict(recipe),
        "seconds": round(time.perf_counter() - start, 1),
        "versions": {"torch": torch.__version__, "open_clip": open_clip.__version__},
    }
    write_atomically(out.with_name(f"{recipe.model_name}.json"), _json(recipe.model_config()))
    write_atomically(out.with_name(f"{out.stem}.train.json"), _json(metadata))
    write_atomically(out, save({name: value.contiguous() for name, value in model.state_dict().items()}))
    return TrainedTeacher(recipe.model_name, out, metadata)


def check_out(out: Path) -> None:
    """Raise TeacherError where a checkpoint cannot be written: known before an hour of training, not after it."""
    if out.suffix != ".safetensors":
        raise TeacherError(f"teacher checkpoints are .safetensors files, not '{shown(out.name)}'.")
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    if out.is_dir() or not nearest.is_dir():
        raise TeacherError(f"{shown(out)}: {shown(out if out.is_dir() else nearest)} is in the way; name another file.")


def local_key(server: ServerData, classes: Sequence[str], recipe: Recipe) -> str:
    """Cache key of the teacher that ``recipe``, and the code that trains, make of ``server``."""
    recipe = recipe.resolved(classes, len(server.data))
    parts = {"recipe": asdict(recipe), "model": recipe.model_config(), "classes": list(classes)}
    made_by = code("clipfed_bench.teacher.train")
    return digest("local teacher 1", made_by, server.content_hash, json.dumps(parts, sort_keys=True))[:24]


def stratified_split(labels: Tensor, classes: int, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Indices to train on and indices held out, (n,) int64 each: the same share of every class, drawn by the seed.

    Raises TeacherError for a class of fewer than two images.
    """
    training, held_out = [], []
    for label in range(classes):
        members = (labels.cpu() == label).nonzero().flatten()
        if len(members) < 2:
            raise TeacherError(
                f"the server data set has {len(members)} images of class {label}; a local teacher needs at least 2, "
                "one to train on and one to hold out."
            )
        members = members[torch.randperm(len(members), generator=generator(recipe.seed, "teacher/split", label))]
        count = max(1, round(recipe.holdout * len(members)))
        held_out.append(members[:count])
        training.append(members[count:])
    return torch.cat(training), torch.cat(held_out)


def new_model(recipe: Recipe) -> nn.Module:
    """A new dual encoder, initialized from the recipe's seed; global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream_seed(recipe.seed, "teacher/init"))
        model: nn.Module = open_clip.CLIP(**recipe.model_config())
    return model.to(memory_format=torch.channels_last)


def unicl_loss(image: Tensor, text: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """UniCL's bidirectional contrastive loss, Eq. 1-3, a scalar.

    ``image`` and ``text`` (B, D) L2-normalized, pair i of class ``labels[i]``, ``scale`` 1/τ. Each image's targets are
    all texts of its class, equally, and each text's all images of its class.
    """
    logits = scale * image @ text.T
    positive = (labels[:, None] == labels[None, :]).to(logits.dtype)
    target = positive / positive.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def zero_shot_accuracy(
    model: nn.Module, preprocess: Preprocess, data: Images, classes: Sequence[str], recipe: Recipe
) -> float:
    """Top-1 accuracy in [0, 1] of the ``simple`` template on ``data``."""
    tokens = _tokenizer(recipe)(prompts(classes, TEMPLATES["simple"]))
    model.eval()
    with torch.no_grad():
        features = embed_images(model, preprocess, data.images)
        predicted = (features @ text_prototypes(model, tokens, len(classes)).T).argmax(1)
    return float((predicted == data.labels).double().mean())


def _fit(
    model: nn.Module,
    preprocess: Preprocess,
    server: ServerData,
    classes: Sequence[str],
    training: Tensor,
    recipe: Recipe,
    progress: Progress | None,
) -> None:
    assert recipe.epochs is not None
    assert recipe.batch_size is not None
    tokenize = _tokenizer(recipe)
    texts = {caption: row for row, caption in enumerate(dict.fromkeys(server.captions))}
    own = torch.tensor([texts[caption] for caption in server.captions])
    tokens = tokenize([*texts, *prompts(classes, TEMPLATES["openai-cifar"])])
    templates = len(TEMPLATES["openai-cifar"])
    random = generator(recipe.seed, "teacher/batches")
    steps = len(training) // recipe.batch_size
    optimizer, schedule = _optimizer(model, recipe, steps * recipe.epochs)
    report = progress or (lambda done, total: None)
    report(0, recipe.epochs)
    model.train()
    for epoch in range(recipe.epochs):
        order = training[torch.randperm(len(training), generator=random)]
        for rows in order[: steps * recipe.batch_size].view(steps, recipe.batch_size):
            labels = server.data.labels[rows]
            # One template for each class and batch keeps the number of different texts, and so the text tower's cost,
            # small.
            drawn = torch.randint(templates, (len(classes),), generator=random)
            template = len(texts) + drawn[labels] * len(classes) + labels
            caption = torch.where(torch.rand(len(rows), generator=random) < 0.5, own[rows], template)
            different, place = torch.unique(caption, return_inverse=True)
            images = preprocess(augment(unit_range(server.data.images[rows]), recipe, random))
            image = model.encode_image(images.contiguous(memory_format=torch.channels_last), normalize=True)  # type: ignore[operator]
            text = model.encode_text(tokens[different], normalize=True)[place]  # type: ignore[operator]
            loss = unicl_loss(image, text, labels, model.logit_scale.exp())  # type: ignore[operator]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0.0, math.log(MAX_LOGIT_SCALE))  # type: ignore[operator]
        report(epoch + 1, recipe.epochs)


def _optimizer(
    model: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), fused=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, max(steps, 2), pct_start=0.2)


def _tokenizer(recipe: Recipe) -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=recipe.model_config()["text_cfg"]["context_length"])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One intra-op thread inside: sums in another order are other weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
