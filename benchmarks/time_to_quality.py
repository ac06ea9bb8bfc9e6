"""How many processor seconds until a model is as good as Hugging Face's Trainer makes it? The loss on text that was not
learnt, against the seconds of training.

The same on all sides: 4 layers x 128, without dropout, its first weights (but for default's and fast's embeddings);
English text (benchmarks/english.py), a WordPiece vocabulary of 4,000, blocks of 128 tokens; one thread; and the
measurement: one function, on the same 24,000 tokens and with the same 15 % of them masked (clm: every next token),
whose time counts for nobody. What is compared:

    trainer   transformers' Trainer, AdamW, warm-up of a tenth and linear decay, 2,048 tokens an update, at the best of
              five learning rates or more, which the first seed chooses by the last loss
    same      nlpkit with the same learning rate, schedule and updates: what throughput alone gives
    default   nlpkit pretrain as it is when nothing is said but --dropout 0, for as many tokens as the Trainer
    fast      nlpkit pretrain --recipe fast, for --fast-steps updates: its schedule wants to be shorter

A seed changes first weights, order and masks of all. Seconds: the Trainer's from its first batch, of nlpkit all of the
command, with its word vectors, to where the line through the measurements reaches the Trainer's last loss; the ratio
is to all seconds of the Trainer of the same seed.

    python benchmarks/english.py --dir DIR
    python benchmarks/time_to_quality.py --text DIR/english.txt                    # masked words
    python benchmarks/time_to_quality.py --text DIR/english.txt --objective clm    # next words
    python benchmarks/time_to_quality.py --small                                   # a minute: does it run?
    python benchmarks/time_to_quality.py --draw mlm.json clm.json --picture FILE   # results of --json as a picture
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch

import nlpkit
from nlpkit import models, objectives
from nlpkit.base.seeds import Address
from nlpkit.data import framing as framings
from nlpkit.data.order import Epochs
from nlpkit.data.pretraining import source
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.models.base import Model
from nlpkit.stages import demo_data as shakespeare
from nlpkit.stages import pretrain
from nlpkit.training.loop import Evaluation
from nlpkit.training.measure import mean_losses

Curve = list[tuple[float, float]]  # seconds of training, held-out loss
SIDES = ("trainer", "same", "default", "fast")
MODELS = {"mlm": "bert", "clm": "gpt2"}
HELD = 24_000  # tokens to measure on
BATCH = 16  # sequences in an update of the Trainer


class Clock:
    """Processor seconds of training, without those of measuring."""

    def __init__(self, held: Callable[[Any], float]) -> None:
        self.held, self.curve, self.began = held, Curve(), 0.0

    def start(self) -> None:
        self.began = time.process_time()

    def measure(self, model: Any) -> float:
        now = time.process_time()
        loss = self.held(model)
        self.curve.append((now - self.began, loss))
        self.began += time.process_time() - now
        return loss


class Setting:
    """Text, vocabulary, model and measurement: what all sides share."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder, self.objective = arguments, folder, arguments.objective
        self.kind = MODELS[self.objective]
        self.write_text()
        pieces = 1000 if arguments.small else 4000
        made = {"kind": "wordpiece", "vocab_size": pieces, "threads": 1}
        nlpkit.tokenizer_train([folder / "small.txt"], folder / "tokenizer.safetensors", **made)
        for name in ("train", "held"):
            nlpkit.tokens(
                [folder / f"{name}.txt"],
                folder / f"{name}.safetensors",
                threads=1,
                tokenizer=folder / "tokenizer.safetensors",
            )
        self.tokens = folder / "train.safetensors"
        files = TokenFiles.open([folder / "held.safetensors"])
        masking = dict.fromkeys(("mask_ratio", "mask_mix", "masks", "mask_copies"))
        self.task = objectives.build(self.objective, pretrain.vocabulary(files.tokenizer), masking)
        self.data = self.blocks(files, 0)

    def write_text(self) -> None:
        """train.txt, the held-out held.txt, and small.txt, of which the vocabulary is."""
        if self.arguments.text is None:
            shakespeare.write(self.folder)
            lines = (self.folder / "corpus.txt").read_text().splitlines(keepends=True)
            lines = lines[:8000]
        else:
            lines = self.arguments.text.read_text("utf-8").splitlines(keepends=True)[: self.arguments.lines]
        held, train = lines[: len(lines) // 100], lines[len(lines) // 100 :]
        for name, part in (("held", held), ("train", train), ("small", train[: max(2000, len(train) // 5)])):
            (self.folder / f"{name}.txt").write_text("".join(part), "utf-8")

    def blocks(self, files: TokenFiles, seed: int) -> Epochs:
        framing = framings.framing(models.family(self.kind).framing, files.tokenizer)
        return source("blocks", files, framing, max_len=128, batch_tokens=BATCH * 128, seed=seed)

    def held(self, model: Model) -> float:
        """The loss on the text that nobody learns."""
        few = Epochs(self.data.lengths[: HELD // 128], self.data.make, batch_tokens=4096, seed=0)
        with torch.inference_mode():
            found = mean_losses(model, self.task, few, Address(0, ("objective", 0)), "cpu")[self.objective]
        model.train()
        return found

    def pretrain(self, target: Path, seed: int, **options: Any) -> None:
        """nlpkit pretrain, of the shape that is compared."""
        given = {"model": self.kind, "n_layers": 4, "d_model": 128, "max_len": 128, "dropout": 0.0, **options}
        nlpkit.pretrain([self.tokens], target, seed=seed, threads=1, force=True, **given)


def ours(setting: Setting, seed: int, steps: int, **options: Any) -> Curve:
    """nlpkit pretrain, the whole command, but for what measures: that is `Setting.held`."""
    clock, usual = Clock(setting.held), pretrain.evaluator

    def evaluator(*_: Any) -> Callable[[Model], Evaluation]:
        return lambda model: Evaluation(-clock.measure(model), {})

    pretrain.evaluator = evaluator
    try:
        clock.start()
        setting.pretrain(
            setting.folder / "ours.safetensors",
            seed,
            steps=steps,
            dev=setting.folder / "held.safetensors",
            eval_every=math.ceil(steps / setting.arguments.points),
            save_every=10**9,
            log_every=10**9,
            **options,
        )
    finally:
        pretrain.evaluator = usual
    return clock.curve


def trainer(setting: Setting, seed: int, steps: int, rate: float) -> Curve:
    """transformers' Trainer, from the weights that ours has at this seed."""
    import transformers
    from training_peer import Collator, features, model_of
    from training_works import Ours, Work

    from nlpkit.exchange import huggingface

    start = setting.folder / "start.safetensors"
    setting.pretrain(start, seed, steps=0)
    loaded = nlpkit.load(start)
    data = setting.blocks(TokenFiles.open([setting.tokens]), seed)
    data.lengths = data.lengths[data.lengths == 128]
    order = torch.randperm(len(data.lengths), generator=torch.Generator().manual_seed(seed)).numpy()
    work = Work("", setting.kind, setting.objective)
    told = argparse.Namespace(same_steps=0, max_len=128)
    clock = Clock(lambda model: setting.held(as_ours(model, huggingface.read)))

    class Measure(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            every = math.ceil(steps / setting.arguments.points)
            if state.global_step % every == 0 or state.global_step == steps:
                clock.measure(model)

    with tempfile.TemporaryDirectory() as name:
        give = Ours(loaded, setting.task, data, order)
        model = model_of(give, Path(name), 0.0)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        settings = transformers.TrainingArguments(
            output_dir=f"{name}/out",
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=rate,
            weight_decay=0.01,
            lr_scheduler_type="linear",
            warmup_steps=steps // 10,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            seed=seed,
            dataloader_pin_memory=False,
        )
        run = transformers.Trainer(
            model=model,
            args=settings,
            train_dataset=features(work, give, told, min(len(order), steps * BATCH)),
            processing_class=tokenizer,
            data_collator=Collator(work, give, tokenizer, told),
            callbacks=[Measure()],
        )
        run.remove_callback(transformers.PrinterCallback)
        run.train()
    return clock.curve


def as_ours(model: Any, read: Callable[..., Any]) -> Model:
    """transformers' model as nlpkit reads it from a directory."""
    with tempfile.TemporaryDirectory() as name:
        model.save_pretrained(name)
        found: Model = read(Path(name), tokenizer=False).model
        return found


def seconds_to(curve: Curve, loss: float) -> float | None:
    """Where the line through the measurements first reaches a loss; None where it does not."""
    before = (0.0, math.inf)
    for now in curve:
        if now[1] <= loss:
            part = 0.0 if math.isinf(before[1]) else (before[1] - loss) / (before[1] - now[1])
            return before[0] + (now[0] - before[0]) * part if part else now[0]
        before = now
    return None


def best_rate(setting: Setting, say: Callable[..., None]) -> tuple[float, Curve, dict[str, float]]:
    """The Trainer's rate with the lowest last loss, its curve, and the last loss at each rate: seed 0, whole runs."""
    found: dict[float, Curve] = {}
    rates = list(setting.arguments.rates)
    for rate in rates:
        found[rate] = trainer(setting, 0, setting.arguments.steps, rate)
        say("trainer", f"rate {rate:g}", found[rate])
    best = min(found, key=lambda rate: found[rate][-1][1])
    if best in (min(found), max(found)):
        print("the best rate is at the end of those tried: try more with --rates", file=sys.stderr)
    return best, found[best], {f"{rate:g}": curve[-1][1] for rate, curve in found.items()}


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    setting = Setting(arguments, folder)

    def say(side: str, what: str, curve: Curve) -> None:
        print(f"{side:<8} {what:<12} {curve[-1][0]:7.1f} s, loss {curve[-1][1]:.3f}", file=sys.stderr, flush=True)

    ours(setting, 0, 3, recipe="fast")  # compiled kernels, caches
    rate, first, tried = best_rate(setting, say)
    told = {
        "same": {"lr": rate, "batch_tokens": BATCH * 128, "embeddings": "random"},
        "default": {},
        "fast": {"recipe": "fast", **({"batch_tokens": 256} if arguments.small else {})},
    }
    steps = {
        "same": arguments.steps,
        "default": max(1, arguments.steps * BATCH * 128 // 4096),
        "fast": arguments.fast_steps,
    }
    curves: dict[str, list[Curve]] = {side: [] for side in SIDES}
    for seed in range(arguments.seeds):
        curves["trainer"].append(first if seed == 0 else trainer(setting, seed, arguments.steps, rate))
        say("trainer", f"seed {seed}", curves["trainer"][-1])
        for side in SIDES[1:]:
            curves[side].append(ours(setting, seed, steps[side], **told[side]))
            say(side, f"seed {seed}", curves[side][-1])
    return {
        "objective": arguments.objective,
        "rate": rate,
        "rates": tried,
        "curves": curves,
        "steps": {"trainer": arguments.steps, **steps},
        "torch": torch.__version__,
    }


def summary(found: dict[str, Any]) -> str:
    """For each side its last loss, and its seconds to the Trainer's last loss as a share of the Trainer's."""
    theirs = found["curves"]["trainer"]
    tried = ", ".join(f"{rate} {loss:.3f}" for rate, loss in found["rates"].items())
    lines = [f"{found['objective']}: the Trainer's last loss at each rate: {tried}; chosen {found['rate']:g}"]
    for side in SIDES:
        curves = found["curves"][side]
        reached = [seconds_to(curve, peer[-1][1]) for curve, peer in zip(curves, theirs, strict=True)]
        ratios = [one / peer[-1][0] for one, peer in zip(reached, theirs, strict=True) if one is not None]
        shown = f"{median(ratios):.2f} [{min(ratios):.2f} .. {max(ratios):.2f}]" if ratios else "-"
        losses = [curve[-1][1] for curve in curves]
        lines.append(
            f"{side:<8} {found['steps'][side]:>5} updates, {median(one[-1][0] for one in curves):6.1f} s, last loss "
            f"{median(losses):.3f} [{min(losses):.3f} .. {max(losses):.3f}]; to the Trainer's loss: {shown} of its "
            f"seconds, {len(ratios)} of {len(curves)} seeds reach it"
        )
    return "\n".join(lines)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Loss against seconds, a panel an objective, a line a seed."""
    from matplotlib.figure import Figure

    colours = {"trainer": "#777777", "same": "#0072b2", "default": "#56b4e9", "fast": "#d55e00"}
    names = {
        "trainer": "Trainer, best rate",
        "same": "nlpkit, the same options",
        "default": "nlpkit, defaults",
        "fast": "nlpkit --recipe fast",
    }
    figure = Figure(figsize=(5 * len(results), 3.6), layout="constrained")
    for axes, found in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        for side in SIDES:
            for number, curve in enumerate(found["curves"][side]):
                axes.plot(
                    *zip(*curve, strict=True),
                    color=colours[side],
                    linewidth=1.2,
                    label=names[side] if number == 0 else None,
                )
        last = found["curves"]["trainer"][0][-1][1]
        axes.axhline(median(curve[-1][1] for curve in found["curves"]["trainer"]), color="#777777", linestyle=":")
        axes.set_ylim(top=last + 1.0)
        axes.set(
            xlabel="processor seconds of training",
            ylabel="held-out loss",
            title={"mlm": "masked words", "clm": "next words"}[found["objective"]],
        )
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="English text, a sentence a line (default: Shakespeare's plays)")
    parser.add_argument("--lines", type=int, default=300_000, help="lines of it to use (default: 300,000)")
    parser.add_argument("--objective", choices=MODELS, default="mlm", help="what is learnt (default: mlm)")
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=[3e-4, 6e-4, 1e-3, 2e-3, 4e-3],
        help="learning rates of the Trainer to try (default: 3e-4 6e-4 1e-3 2e-3 4e-3)",
    )
    parser.add_argument("--steps", type=int, default=240, help="updates of the Trainer (default: 240)")
    parser.add_argument("--fast-steps", type=int, default=120, help="updates of the recipe (default: 120)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds (default: 3)")
    parser.add_argument("--points", type=int, default=12, help="measurements in a run (default: 12)")
    parser.add_argument("--small", action="store_true", help="a few updates: does it run?")
    parser.add_argument("--json", type=Path, help="write all curves here")
    parser.add_argument("--draw", type=Path, nargs="+", help="measure nothing, draw what --json wrote")
    parser.add_argument("--picture", type=Path, help="draw the curves here, .svg or .png")
    arguments = parser.parse_args()
    if arguments.draw:
        draw([json.loads(path.read_text()) for path in arguments.draw], arguments.picture)
        return
    if arguments.small:
        arguments.steps, arguments.fast_steps, arguments.seeds, arguments.points = 4, 4, 2, 2
        arguments.rates = arguments.rates[:2]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        found = run(arguments, Path(name))
    print(summary(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found))
    if arguments.picture:
        draw([found], arguments.picture)


if __name__ == "__main__":
    main()
