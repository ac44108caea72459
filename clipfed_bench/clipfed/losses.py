"""The losses of CLIP-Fed: prototype contrast (Eq. 3 to 5) and knowledge transfer (Eq. 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def class_prototypes(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Mean of the L2-normalized ``features`` (N, D) of each class, normalized again: (num_classes, D).

    A class without samples gets zeros, at cosine 0 from everything.
    """
    unit = F.normalize(features, dim=1)
    sums = torch.zeros(num_classes, unit.shape[1], dtype=unit.dtype, device=unit.device)
    return F.normalize(sums.index_add_(0, labels, unit), dim=1)


def prototype_loss(positive: Tensor, contrast: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """-log( exp(s⁺_c / τ) / Σ_{k≠c} exp(s_k / τ) ), Eq. 3 and Eq. 4, as a mean over the batch.

    ``positive`` and ``contrast`` (B, C) are cosine similarities to the prototypes of all classes; the numerator reads
    ``positive`` at the label, the denominator ``contrast`` everywhere *but* at the label, so the loss can be negative.
    """
    own = positive.gather(1, labels[:, None]).squeeze(1) / temperature
    others = (contrast / temperature).scatter(1, labels[:, None], float("-inf"))
    return (torch.logsumexp(others, dim=1) - own).mean()


def rectification_loss(
    features: Tensor,
    projected: Tensor,
    labels: Tensor,
    image_prototypes: Tensor,
    text_prototypes: Tensor,
    own_prototypes: Tensor,
    temperature: float,
) -> Tensor:
    """L_pcl = L1 + L2 (Eq. 5), the mean over the batch where the paper writes a sum [ours].

    ``features`` (B, D) of the extractor and its prototypes ``own_prototypes`` (C, D) meet in the extractor's space;
    ``projected`` (B, E) meets the teacher's (C, E) ``image_prototypes`` and ``text_prototypes``. Prototypes are
    L2-normalized.
    """
    vector, in_teacher = F.normalize(features, dim=1), F.normalize(projected, dim=1)
    to_text = in_teacher @ text_prototypes.T
    first = prototype_loss(in_teacher @ image_prototypes.T, vector @ own_prototypes.T, labels, temperature)
    return first + prototype_loss(to_text, to_text, labels, temperature)


def transfer_loss(logits: Tensor, teacher_logits: Tensor, labels: Tensor, beta: float, temperature: float) -> Tensor:
    """L_kt = CE(y, l) + β · KL(softmax(l_clip) ‖ softmax(l)) (Eq. 6), mean over the batch.

    Both (B, C) logits are divided by the distillation ``temperature`` T and the KL multiplied by T², which keeps its
    gradient's scale (Hinton et al. 2015); T = 1 is Eq. 6 to the letter.
    """
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return F.cross_entropy(logits, labels) + beta * temperature**2 * divergence
