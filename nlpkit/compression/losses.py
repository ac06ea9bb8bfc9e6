"""The losses between a student and its teacher, as sums over their predictions.

Hinton et al. 2015, section 2 (soft targets at a temperature); Sanh et al. 2019, section 2 (with the cosine between
hidden states).

Shapes: M predictions, V classes or vocabulary, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nlpkit.layers.cross_entropy import total


def soft_targets(student_MV: Tensor, teacher_MV: Tensor, temperature: float) -> Tensor:
    """Sum over predictions of T^2 KL(teacher || student), both softened by T; a scalar.

    The square of T keeps the gradient's size when T changes (Hinton et al. 2015, section 2.1).
    """
    student = F.log_softmax(wide(student_MV) / temperature, dim=1)
    teacher = F.log_softmax(wide(teacher_MV) / temperature, dim=1)
    return total(F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)) * temperature**2


def soft_targets_of_top(student_MV: Tensor, ids_MK: Tensor, logs_MK: Tensor, temperature: float) -> Tensor:
    """`soft_targets` of a teacher of which only the K most likely classes and their softened log-probabilities are
    known; all others count as one class. With all V it equals `soft_targets`, with fewer it is at most that."""
    scaled_MV = wide(student_MV) / temperature
    top_MK = scaled_MV.gather(1, ids_MK)
    known_MK = logs_MK.exp()
    if ids_MK.shape[1] == scaled_MV.shape[1]:
        norm_M1 = top_MK.logsumexp(1, keepdim=True)
        return total((known_MK * (logs_MK - top_MK + norm_M1)).sum(1)) * temperature**2
    others_M1 = scaled_MV.scatter(1, ids_MK, -torch.inf).logsumexp(1, keepdim=True)
    norm_M1 = torch.logaddexp(top_MK.logsumexp(1, keepdim=True), others_M1)
    rest_M1 = (1 - known_MK.double().sum(1, keepdim=True)).clamp(min=1e-12).to(known_MK.dtype)
    parts_MK = known_MK * (logs_MK - top_MK + norm_M1)
    return total(parts_MK.sum(1) + (rest_M1 * (rest_M1.log() - others_M1 + norm_M1))[:, 0]) * temperature**2


def cosine(student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
    """Sum over tokens of 1 - cos(student, teacher); a scalar."""
    return total(1 - F.cosine_similarity(wide(student_ND), wide(teacher_ND), dim=1))


def wide(x: Tensor) -> Tensor:
    """At least 32 bits."""
    return x.float() if x.dtype.itemsize < 4 else x
