"""nlpkit evaluate"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options
from nlpkit.cli.output import call, human_bytes, number
from nlpkit.cli.terminal import tell, visible

BASELINES = {
    "bag_of_words": "a bag of words",
    "majority": "the most frequent label",
    "unigram": "guessing by frequencies",
}


def command(
    model: Annotated[Path, Argument(help="A model file or a Hugging Face directory.", metavar="MODEL")],
    data: Annotated[Path, Argument(help="Labelled examples; for a language model, a token file or text.")],
    against: Annotated[
        Path | None, Option(help="Compare with this model, example by example (default: no comparison).")
    ] = None,
    train: Annotated[
        Path | None,
        Option(
            help="Also evaluate baselines trained on this file: of a classifier majority and bag of words (default: "
            "none), of a language model unigram (default: trained on DATA)."
        ),
    ] = None,
    text: Annotated[str | None, Option(help="Column of the text (default: the model's).")] = None,
    pair: Annotated[str | None, Option(help="Column of the second text (default: the model's).")] = None,
    label: Annotated[str | None, Option(help="Column of the label (default: the model's).")] = None,
    on_error: options.OnError = "error",
    format: options.Format = None,
    max_len: options.MaxLen = None,
    stride: Annotated[
        int | None,
        Option(
            help="Tokens from the start of one window of max-len to the next (causal models): a smaller stride gives "
            "each token more context and takes longer (default: max-len, windows do not overlap)."
        ),
    ] = None,
    cut: Annotated[
        str | None,
        Option(
            help="How the text is cut into sequences (masked models): blocks (max-len tokens, across sentences and "
            "documents), sentences (whole ones, of one document), pairs (two segments, for nsp) (default: as in "
            "training)."
        ),
    ] = None,
    mask_ratio: Annotated[
        float | None, Option(help="Fraction of the tokens that are predicted (masked models; default: 0.15).")
    ] = None,
    mask_mix: options.MaskMix = None,
    batch_tokens: Annotated[int, Option(help="Approximate number of tokens in a batch; changes no value.")] = 4096,
    resamples: Annotated[int, Option(help="Bootstrap resamples for the confidence intervals.")] = 1000,
    min: Annotated[
        list[str] | None,
        Option(help="METRIC=NUMBER: exit with 3 if the metric is lower; repeatable (default: no bound)."),
    ] = None,
    max: Annotated[
        list[str] | None,
        Option(help="METRIC=NUMBER: exit with 3 if the metric is higher; repeatable (default: no bound)."),
    ] = None,
    seed: options.Seed = 0,
    int8: options.Int8 = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    output: Annotated[
        Path | None, Option("-o", "--output", help="Write the result as JSON to this file too (default: none).")
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Evaluate a model, each metric with its 95 % confidence interval. When a --min or --max is not kept the exit code
    is 3 and -o is not written.

    Examples:

    nlpkit evaluate clf.safetensors test.jsonl --train train.jsonl --min accuracy=0.6

    nlpkit evaluate student.safetensors test.jsonl --against teacher.safetensors --json -o score.json
    """
    result = call("evaluate", locals(), json=json, show=show)
    from nlpkit.evaluation.checks import demand

    demand(result["checks"])


def show(result: dict[str, Any]) -> None:
    """The same, for people."""
    model, data = result["model"], result["data"]
    what = f"{data['examples']:,} examples" if "examples" in data else f"{data['tokens']:,} tokens"
    if over := result.get("over_baselines"):
        tell(_verdict(result, over))
    tell(f"{_model(model)} on {data['name']}: {what}, intervals 95 %")
    _table(result["metrics"])
    if "confusion" in result:
        _confusion(result["confusion"])
    for name, metrics in result.get("baselines", {}).items():
        _title(f"baseline {name.replace('_', ' ')}")
        _table(metrics)
    if "against" in result:
        _title(f"against {_model(result['against'])}")
        _table(result["against"]["metrics"])
        _title("difference, model minus other, on the same examples")
        _table(result["difference"])
    tell()
    for name, speed in result["speed"].items():
        tell(f"{name}: {speed['examples_per_second']:,.0f} sequences a second")


def _verdict(result: Mapping[str, Any], over: Mapping[str, Mapping[str, Any]]) -> str:
    """Who wins, by how much: "accuracy 0.993: better than a bag of words (0.840) by 0.153 [0.120, 0.186]; ..."."""
    metric = next(iter(next(iter(over.values()))))  # accuracy of a classifier, loss of a language model
    parts = []
    for name, text in BASELINES.items():
        if name in over:
            difference, theirs = over[name][metric], result["baselines"][name][metric]["value"]
            low, high = sorted((difference["low"], difference["high"]), key=abs)
            better = (difference["value"] > 0) == (metric != "loss")
            if difference["low"] <= 0 <= difference["high"]:
                parts.append(f"as good as {text} ({theirs:.3f}): {difference['value']:+.3f} may be chance")
            else:
                by = f"{abs(difference['value']):.3f} [{abs(low):.3f}, {abs(high):.3f}]"
                parts.append(f"{'better' if better else 'worse'} than {text} ({theirs:.3f}) by {by}")
    return f"{metric} {result['metrics'][metric]['value']:.3f}: {'; '.join(parts)}"


def _title(text: str) -> None:
    tell()
    tell(text)


def _model(model: Mapping[str, Any]) -> str:
    return f"{model['name']} ({model['parameters']:,} parameters, {human_bytes(model['bytes'])})"


def _table(metrics: Mapping[str, Mapping[str, float | None]]) -> None:
    for name, metric in metrics.items():
        value, low, high = (number(metric[part], 4) for part in ("value", "low", "high"))
        tell(f"  {visible(name):<24} {value:>9}   [{low}, {high}]")


def _confusion(confusion: Mapping[str, Any]) -> None:
    """Rows are the truth, columns the guesses; a large matrix is left to --json."""
    labels = [visible(label)[:12] for label in confusion["labels"]]
    if len(labels) > 12:
        return
    tell()
    tell("  " + " " * 12 + "".join(f" {label:>12}" for label in labels) + "  (guessed)")
    for label, row in zip(labels, confusion["counts"], strict=True):
        tell(f"  {label:<12}" + "".join(f" {count:>12,}" for count in row))
