"""``--min accuracy=0.6`` and ``--max perplexity=30``: bounds on metrics."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlpkit.base.errors import CheckFailed, UserError, choose

LANGUAGE = ("perplexity", "bits_per_byte", "mlm_accuracy", "clm_accuracy")  # metrics of language models alone
_RANGES = {
    "macro_f1": (0, 1),
    "mcc": (-1, 1),
    "loss": (0, math.inf),
    "perplexity": (1, math.inf),
    "bits_per_byte": (0, math.inf),
}


@dataclass(frozen=True)
class Bound:
    """One bound: ``side`` is "min" or "max"."""

    side: str
    metric: str
    threshold: float

    def check(self, value: float) -> dict[str, Any]:
        """The bound and a value, as JSON with the key ``ok``."""
        ok = value >= self.threshold if self.side == "min" else value <= self.threshold
        return {"metric": self.metric, "value": value, self.side: self.threshold, "ok": ok}

    def value(self, metrics: Mapping[str, Mapping[str, Any]]) -> float:
        """The metric's value. Errors: a metric that is undefined on this data (such as the F1 of a label that neither
        occurs nor is predicted)."""
        if self.metric not in metrics or metrics[self.metric]["value"] is None:
            raise UserError(
                f'metric "{self.metric}" could not be measured on this data',
                where=f"--{self.side}",
                hint=f"measured: {', '.join(metrics)}",
            )
        return float(metrics[self.metric]["value"])


def requested_names(options: Mapping[str, Any]) -> list[str]:
    """The names before the "=" of ``min`` and ``max``, before they are checked."""
    return [text.partition("=")[0] for text in (*(options["min"] or ()), *(options["max"] or ()))]


def parse(minima: Sequence[str], maxima: Sequence[str], names: Collection[str]) -> list[Bound]:
    """Bounds from ``METRIC=NUMBER`` texts; ``names`` are the available metrics.

    Errors: a malformed text, a number that is not finite, an unknown metric, a bound outside the metric's range.
    """
    bounds = []
    for side, texts in (("min", minima), ("max", maxima)):
        for text in texts:
            name, equals, number = text.rpartition("=")
            try:
                threshold = float(number)
            except ValueError:
                threshold = float("nan")
            if not equals or not math.isfinite(threshold):
                raise UserError(f'"{text}" is not METRIC=NUMBER', where=f"--{side}", hint=f"e.g. --{side} accuracy=0.6")
            choose(dict.fromkeys(names), name, field="metric", where=f"--{side}")
            low, high = range_of(name)
            if not low <= threshold <= high:
                expected = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
                raise UserError(
                    f"{name} is {expected}, and the bound is {number}", where=f"--{side}", hint=_meant(side, name, high)
                )
            bounds.append(Bound(side, name, threshold))
    return bounds


def range_of(metric: str) -> tuple[float, float]:
    """The least and the largest value that a metric can have. Errors: KeyError for a metric without a range."""
    if metric.startswith("f1.") or metric.endswith("accuracy"):
        return 0, 1
    return _RANGES[metric]


def _meant(side: str, metric: str, high: float) -> str:
    if high == math.inf:
        return f"such a bound holds of {'every model' if side == 'min' else 'no model'}; leave it out or change it"
    return f"{'e.g.' if metric == 'mcc' else '80 percent is'} --{side} {metric}=0.8"


def demand(checks: Sequence[Mapping[str, Any]]) -> None:
    """Errors: CheckFailed that names every violated bound."""
    broken = [
        f"{check['metric']} is {check['value']:.6g}, "
        + (f"less than the minimum {check['min']:g}" if "min" in check else f"more than the maximum {check['max']:g}")
        for check in checks
        if not check["ok"]
    ]
    if broken:
        raise CheckFailed("; ".join(broken))
