"""Contrastive training of a dual encoder on captioned images of few classes.

Since many captions say the same class, every caption of an image's class counts as its positive: the loss is UniCL's
(Yang et al., "Unified Contrastive Learning in Image-Text-Label Space", CVPR 2022, Eq. 1-3). In each batch half of the
images keep their own caption and half get a random template of theirs, so that any of the templates works afterwards.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipfed_bench.core.errors import TeacherError
from clipfed_bench.teacher.prompts import TEMPLATES, prompts
from clipfed_bench.teacher.recipe import Schedule
from clipfed_bench.toolbox.images import ServerData
from clipfed_bench.toolbox.rng import generator, stream_seed

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) before the first and after each step, e.g. an epoch."""

MAX_LOGIT_SCALE = 100.0
"""Bound of exp(logit scale), as in CLIP."""


def unicl_loss(image: Tensor, text: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """UniCL's bidirectional contrastive loss, Eq. 1-3, a scalar.

    ``image`` and ``text`` (B, D) L2-normalized, pair i of class ``labels[i]``, ``scale`` 1/τ. Each image's targets are
    all texts of its class, equally, and each text's all images of its class.
    """
    logits = scale * image @ text.T
    positive = (labels[:, None] == labels[None, :]).to(logits.dtype)
    target = positive / positive.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def fit(
    model: nn.Module,
    encode_image: Callable[[Tensor, torch.Generator], Tensor],
    trained: Iterable[nn.Parameter],
    server: ServerData,
    classes: Sequence[str],
    training: Tensor,
    schedule: Schedule,
    progress: Callable[[int], None],
) -> None:
    """Train the parameters ``trained`` of an open_clip ``model`` on the rows ``training`` (n,) int64 of ``server``.

    ``encode_image`` takes rows (B,) int64 and the stream of the batches to (B, D) L2-normalized features.
    ``progress`` hears of each epoch that is done.
    """
    tokenize = tokenizer(model.context_length)  # type: ignore[arg-type]
    texts = {caption: row for row, caption in enumerate(dict.fromkeys(server.captions))}
    own = torch.tensor([texts[caption] for caption in server.captions])
    tokens = tokenize([*texts, *prompts(classes, TEMPLATES["openai-cifar"])])
    templates = len(TEMPLATES["openai-cifar"])
    random = generator(schedule.seed, "teacher/batches")
    steps = len(training) // schedule.batch_size
    optimizer, rate = _optimizer(trained, schedule, steps * schedule.epochs)
    model.train()
    for epoch in range(schedule.epochs):
        order = training[torch.randperm(len(training), generator=random)]
        for rows in order[: steps * schedule.batch_size].view(steps, schedule.batch_size):
            labels = server.data.labels[rows]
            # One template for each class and batch keeps the number of different texts, and so the text tower's cost,
            # small.
            drawn = torch.randint(templates, (len(classes),), generator=random)
            template = len(texts) + drawn[labels] * len(classes) + labels
            caption = torch.where(torch.rand(len(rows), generator=random) < 0.5, own[rows], template)
            different, place = torch.unique(caption, return_inverse=True)
            image = encode_image(rows, random)
            text = model.encode_text(tokens[different], normalize=True)[place]  # type: ignore[operator]
            loss = unicl_loss(image, text, labels, model.logit_scale.exp())  # type: ignore[operator]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0.0, math.log(MAX_LOGIT_SCALE))  # type: ignore[operator]
        progress(epoch + 1)


def _optimizer(
    trained: Iterable[nn.Parameter], schedule: Schedule, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    parameters = list(trained)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.98), fused=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.lr, max(steps, 2), pct_start=0.2)


def stratified_split(
    labels: Tensor, classes: int, share: float, seed: int, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Indices to train on and indices held out, (n,) int64 each: ``share`` of every class, drawn by the seed.

    ``most`` images of a class are taken, where it has more.

    Raises TeacherError for a class of fewer than two images.
    """
    training, held_out = [], []
    for label in range(classes):
        members = (labels.cpu() == label).nonzero().flatten()
        if len(members) < 2:
            raise TeacherError(
                f"the server data set has {len(members)} images of class {label}; a teacher that is trained here needs "
                "at least 2, one to train on and one to hold out."
            )
        members = members[torch.randperm(len(members), generator=generator(seed, "teacher/split", label))][:most]
        count = max(1, round(share * len(members)))
        held_out.append(members[:count])
        training.append(members[count:])
    return torch.cat(training), torch.cat(held_out)


def check_size(training: Tensor, batch_size: int) -> None:
    """Raise TeacherError where ``training`` has fewer rows than a batch."""
    if len(training) < batch_size:
        raise TeacherError(
            f"the server data set has {len(training)} images to train a teacher on, less than a batch of "
            f"{batch_size}; give it more images, or lower batch_size."
        )


def new_model(config: dict[str, object], seed: int) -> nn.Module:
    """A new dual encoder of open_clip, initialized from ``seed``; global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream_seed(seed, "teacher/init"))
        model: nn.Module = open_clip.CLIP(**config)
    return model.to(memory_format=torch.channels_last)


def tokenizer(context_length: int) -> open_clip.SimpleTokenizer:
    """CLIP's, for a text tower of that context."""
    return open_clip.SimpleTokenizer(context_length=context_length)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One intra-op thread inside: sums in another order are other weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
