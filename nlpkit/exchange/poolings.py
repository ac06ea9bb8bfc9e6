"""Poolings that a Hugging Face class lacks, rewritten so that it computes them: the same function of a text, other
weights. A family's table (`HuggingFace.pooling`) names the rewriting of each pooling that can be expressed.

The class reads a post-norm encoder through a pooler: logits = W tanh(P h_0 + p) + b, h_0 the first token.

identity-pooler (cls): P = s I and p = 0, with s so small that tanh is the identity to float32; W / s takes it back.

averaging-layer (mean): one more encoder layer, whose output is the mean of the tokens' vectors h at every token; then
an identity pooler. h = gain z + bias, where z is what the last norm normalised: |z_i| <= sqrt(D) and its mean over
the D dimensions is 0, whatever the model. The last norm gets gain d and bias 0, d a small number: the new layer reads
d z. Its query and key are 0, so that it attends equally to every token that the mask allows; its value is the
identity, its output K times the identity: it adds K d mean(z), beside which the residual d z is 1/K. The new norms see
a variance of at most (K d)^2, far below their epsilon, so that they multiply by 1 / sqrt(epsilon); the feed-forward
adds 0. The gain of the first is sqrt(epsilon), that of the second sqrt(epsilon) gain / (K d), its bias is ``bias``.

s, d and K are powers of two, chosen from the norm's gain, bias and epsilon: hidden states and logits may have any size.
float32 and bfloat16 have the range for it, float16 has not. The weights are for inference, and no start for training.

Shapes: D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.models.names import HuggingFace

Arrays = dict[str, NDArray[Any]]
Rewriting = Callable[[Arrays, dict[str, Any]], tuple[Arrays, dict[str, Any]]]

FINE = 2.0**-13  # x^2 is half of float32's precision: tanh(x) = x (1 - x^2/3), 1/sqrt(1 + x^2) = 1 - x^2/2
RESIDUAL = 2.0**-40  # 1/K: weight of one token's vector beside the mean
LEAST_EPS = 2.0**-80  # below it the squares of d z leave float32's range


def missing(pooling: str, names: HuggingFace) -> str | None:
    """Why a classifier with this pooling cannot be exported; None: it can."""
    if pooling in names.pooling:
        return None
    return f'no class of transformers\' pools a {names.model_type} model by "{pooling}"'


def hint(names: HuggingFace) -> str:
    """The way out: the poolings that can be exported, as they are typed."""
    *others, last = names.pooling
    return f"fine-tune with --pooling {', '.join(others)} or {last}, which can be exported"


def rewrite(
    pooling: str, names: HuggingFace, tensors: Arrays, config: dict[str, Any]
) -> tuple[Arrays, dict[str, Any], dict[str, Any] | None]:
    """A classifier's tensors (our names) and sizes as the Hugging Face class computes them, and a record of what was
    done; None: nothing. Errors: a norm's epsilon that is too small for it."""
    rewriting = names.pooling[pooling]
    if rewriting is None:
        return tensors, config, None
    tensors, config = REWRITINGS[rewriting](tensors, config)
    return tensors, config, {"pooling": pooling, "as": next(iter(names.pooling)), "by": rewriting}


def _power(value: float) -> float:
    """The largest power of two that is not above ``value``."""
    return 2.0 ** math.floor(math.log2(value))


def _eye(width: int, scale: float) -> NDArray[Any]:
    return np.eye(width, dtype=np.float32) * np.float32(scale)


def _identity_pooler(tensors: Arrays, config: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    width, norm = config["d_model"], f"encoder.layers.{config['n_layers'] - 1}.feedforward_norm"
    gain, bias = (np.abs(tensors[f"{norm}.{part}"].astype(np.float64)) for part in ("weight", "bias"))
    largest = max(float((gain * math.sqrt(width) + bias).max()), 1.0)  # of any hidden state, by the norm's definition
    scale = _power(FINE / largest)
    pooler = {"pooler.dense.weight": _eye(width, scale), "pooler.dense.bias": np.zeros(width, np.float32)}
    classifier = {"heads.classify.weight": tensors["heads.classify.weight"] / np.float32(scale)}
    return tensors | pooler | classifier, config


def _averaging_layer(tensors: Arrays, config: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    width, d_ff, number, eps = config["d_model"], config["d_ff"], config["n_layers"], config["norm_eps"]
    if eps < LEAST_EPS:
        raise UserError(
            f'its norm_eps is {eps}, and pooling "mean" is exported for {LEAST_EPS:.0e} or more',
            hint="fine-tune with another --pooling",
        )
    rstd = np.float32(1) / np.sqrt(np.float32(eps))  # what the new norms multiply by, with its rounding errors
    first = np.float32(1 / rstd)
    mean = _power(FINE * float(first))  # K d
    last, new = f"encoder.layers.{number - 1}.feedforward_norm", f"encoder.layers.{number}"
    gain, zeros = tensors[f"{last}.weight"].astype(np.float64), np.zeros(width, np.float32)
    weights = {
        f"{new}.attention.query": np.zeros((width, width), np.float32),
        f"{new}.attention.key": np.zeros((width, width), np.float32),
        f"{new}.attention.value": _eye(width, 1),
        f"{new}.attention.output": _eye(width, 1 / RESIDUAL),
        f"{new}.attention_norm": np.full(width, first, np.float32),
        f"{new}.feedforward.up": np.zeros((d_ff, width), np.float32),
        f"{new}.feedforward.down": np.zeros((width, d_ff), np.float32),
        f"{new}.feedforward_norm": (gain / (mean * float(rstd) * float(rstd) * float(first))).astype(np.float32),
    }
    layer = {f"{name}.weight": value for name, value in weights.items()}
    layer |= {f"{name}.bias": np.zeros(len(value), np.float32) for name, value in weights.items()}
    layer[f"{new}.feedforward_norm.bias"] = tensors[f"{last}.bias"]
    quiet = {f"{last}.weight": np.full(width, mean * RESIDUAL, np.float32), f"{last}.bias": zeros}
    return _identity_pooler(tensors | quiet | layer, config | {"n_layers": number + 1})


REWRITINGS: dict[str, Rewriting] = {"identity-pooler": _identity_pooler, "averaging-layer": _averaging_layer}
