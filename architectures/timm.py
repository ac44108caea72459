"""timm's image classifiers, without weights: timm:resnet18[output_stride=8], timm:convmixer_768_32 and so on

Wightman, "PyTorch Image Models", 2019 (github.com/huggingface/pytorch-image-models); whose network NAME is, timm's
documentation of it says. Its classifier is one linear layer on its pooled features, and images have the data set's
shape: networks whose input size is fixed are made for it. Most are made for 224 × 224 pixels and halve images five
times, 32 × 32 to one pixel; with ``output_stride`` many stop earlier.

A network is refused where it cannot be trained on such images as others are: where BatchNorm sees a single value of
each channel of an image, since a client's last batch may be of one image; and where it keeps state besides BatchNorm's
running statistics, as these alone are aggregated apart from the parameters.

Deviations: nothing is dropped at random (dropout, stochastic depth), whatever the network's own default is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from clipfed_bench.api import Classifier, Member
from clipfed_bench.core.errors import UserError, nearest, shown

Shape = tuple[int, int, int]
"""(C, H, W)."""


@dataclass(frozen=True)
class Config:
    member: Member
    output_stride: int | None = None
    """By how much maps may be smaller than images, 8 or 16, in networks that can be so: later convolutions are dilated
    instead. As much as the network has it if none [ours]."""


class Timm(Classifier):
    """As many features as the network has before its own classifier."""

    config: Config
    lr = 0.05
    """[ours]"""
    batch_size = 64
    """[ours]"""
    warmup_rounds = 0
    """[ours]"""

    def __init__(self, config: Config, image_shape: Shape, num_classes: int) -> None:
        super().__init__(config, image_shape, num_classes)
        width = _width(config.member.name, config.output_stride, image_shape)
        self.body = _body(config.member.name, config.output_stride, image_shape)
        self.classifier = nn.Linear(width, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.body(images)  # type: ignore[no-any-return]


def _body(name: str, output_stride: int | None, image_shape: Shape) -> nn.Module:
    """The network without its classifier, with random weights."""
    channels, height, width = image_shape
    known = timm.get_pretrained_cfg(name)
    more: dict[str, Any] = {} if output_stride is None else {"output_stride": output_stride}
    if known is not None and known.fixed_input_size:
        more["img_size"] = height, width
    body: nn.Module = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0, **more)
    for module in body.modules():
        for rate in ("drop_rate", "drop_prob", *(["p"] if isinstance(module, _DropoutNd) else [])):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    return body


@cache
def _width(name: str, output_stride: int | None, image_shape: Shape) -> int:
    """How many features the network has. Raises UserError where it cannot be had, or trained on such images."""
    model, size = f"model timm:{shown(name)}", "×".join(map(str, image_shape[1:]))
    if name not in (known := timm.list_models()):
        raise UserError(f"{model}: timm {timm.__version__} has no such model.{nearest(name, known, 0.6)}")
    single: list[str] = []
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            body = _body(name, output_stride, image_shape).eval()
            for place, module in body.named_modules():
                if isinstance(module, _BatchNorm):
                    module.register_forward_pre_hook(
                        lambda _, inputs, place=place: single.append(place) if inputs[0][0, 0].numel() == 1 else None
                    )
            found = body(torch.empty(1, *image_shape))
    except Exception as error:
        raise UserError(f"{model} cannot be made for images of {size}: {shown(error, 300)}") from error
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise UserError(f"{model} has no one vector of features for an image; it cannot be used.")
    if single:
        raise UserError(
            f"{model}: in images of {size} its BatchNorm '{single[0]}' sees a single value of each channel, so that a "
            f"batch of one image cannot be trained on. Maps may be larger with timm:{name}[output_stride=8]."
        )
    running = {id(buffer) for m in body.modules() if isinstance(m, _BatchNorm) for buffer in m.buffers(recurse=False)}
    others = [n for n, buffer in body.named_buffers() if buffer.is_floating_point() and id(buffer) not in running]
    if others:
        raise UserError(
            f"{model} keeps '{others[0]}', which is no BatchNorm's; only running statistics are aggregated."
        )
    return int(found.shape[1])
