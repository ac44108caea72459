"""Making a data set: what is still to draw, drawing it batch by batch, and the file in the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image, ImageOps

from clipfed_bench.core.errors import UserError
from clipfed_bench.generate.files import check_finished, write_parquet
from clipfed_bench.generate.parts import Drawn, Parts
from clipfed_bench.generate.pipeline import Generator, load_generator
from clipfed_bench.generate.prompts import class_prompts, pick
from clipfed_bench.generate.settings import Settings, resolve
from clipfed_bench.toolbox.rng import stream_seed

Progress = Callable[[int, int], None]
"""Called with (images done, images in all) before the first and after each batch."""

OWN, ATTEMPTS = 4, 8
"""Draws with an image's own prompt, and in all: the later ones have a spare prompt [ours]."""


@dataclass(frozen=True)
class Made:
    """What a call of :func:`make` came to."""

    images: int
    redraws: int
    """Blank or filtered results that were drawn again."""
    drawn: int
    """Images drawn by this call; the others were there."""


def check(out: Path, batch_size: int) -> None:
    """Raise UserError for what :func:`make` can do nothing with."""
    if out.suffix != ".parquet":
        raise UserError(f"--out {out}: a file called NAME.parquet is needed.")
    if batch_size < 1:
        raise UserError(f"--batch-size {batch_size}: at least 1 is needed.")


def make(
    settings: Settings,
    out: Path,
    device: str = "cpu",
    batch_size: int = 1,
    progress: Progress | None = None,
    load: Callable[[Settings, str], Generator] = load_generator,
) -> Made:
    """Draw the data set of ``settings`` and write it to ``out`` (parquet), going on with what an earlier call left.

    An image depends on (seed, class name, index) and the pipeline alone, not on the other images; batch size and
    device change it by rounding at most. Nothing is at ``out`` before it is complete.

    Raises UserError: ``out`` is something else or not writable, an interrupted call had other settings, the pipeline
    cannot be had, gives nothing but blank images, or its batch does not fit into memory.
    """
    check(out, batch_size)
    settings = resolve(settings, device)
    parts = Parts(out)
    if check_finished(out, settings):
        parts.remove()
        return Made(settings.total, 0, 0)
    with parts.opened(settings.as_dict()) as there:
        # The commit of the interrupted call, also where the hub has a newer one by now.
        generator = load(replace(settings, commit=there.get("commit")), device)
        settings = generator.settings
        parts.settle(settings.as_dict())
        done = {at: image for at, image in parts.read().items() if 0 <= at < settings.total}
        before = len(done)
        report = progress or (lambda done, total: None)
        report(before, settings.total)
        prompts = [class_prompts(name, settings.seed, settings.templates) for name in settings.classes]
        # Batches lie on a fixed grid, so that an interruption does not change what is drawn together.
        for start in range(0, settings.total, batch_size):
            stop = min(start + batch_size, settings.total)
            wanted = [at for at in range(start, stop) if at not in done]
            if wanted:
                batch = _draw(generator, wanted, prompts)
                parts.add(batch)
                done |= {image.position: image for image in batch}
                report(len(done), settings.total)
        images = [done[at] for at in range(settings.total)]
        redraws = sum(image.redraws for image in images)
        write_parquet(out, images, settings, generator.facts | {"redraws": redraws})
    parts.remove()
    return Made(settings.total, redraws, settings.total - before)


def _draw(generator: Generator, positions: Sequence[int], prompts: Sequence[Sequence[str]]) -> list[Drawn]:
    settings, done, left = generator.settings, {}, list(positions)
    for attempt in range(ATTEMPTS):
        texts, seeds = [], []
        for position in left:
            index, label = divmod(position, len(settings.classes))
            texts.append(pick(prompts[label], index, spare=attempt >= OWN))
            purpose = f"server-data/{settings.classes[label]}"
            seeds.append(stream_seed(settings.seed, purpose, index, attempt))
        try:
            images = generator.draw(texts, seeds)
        except torch.OutOfMemoryError:
            raise UserError(
                f"the GPU's memory does not hold a batch of {len(left)}; finished images are kept. "
                "Give the same command with a smaller --batch-size."
            ) from None
        for position, text, seed, image in zip(left, texts, seeds, images, strict=True):
            if image is not None:
                done[position] = Drawn(position, _png(image, settings.image_size), text, seed, attempt)
        left = [position for position in left if position not in done]
        if not left:
            return [done[position] for position in positions]
    raise UserError(
        f"{settings.model} gave {ATTEMPTS} blank or filtered images in a row for '{texts[0]}'; finished images are "
        f"kept. Half precision may overflow (--dtype float32 or bfloat16; it is {settings.dtype}), the model may need "
        "other --steps, --guidance or --size, or its safety checker objects to the class (own prompts: --templates)."
    )


def _png(image: Image.Image, side: int) -> bytes:
    """The central square at ``side`` × ``side``, as PNG."""
    buffer = io.BytesIO()
    ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()
