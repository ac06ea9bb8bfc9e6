"""nlpkit distill: a teacher and data make a smaller student."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nlpkit import objectives, tasks
from nlpkit.artifact import file
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.resume import discard
from nlpkit.artifact.stage import stage
from nlpkit.base import contents
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.base.world import world
from nlpkit.compression import replay as replaying
from nlpkit.compression.objectives import WIDEN, LanguageDistillation, TaskDistillation
from nlpkit.compression.student import make_student
from nlpkit.data import framing as framings
from nlpkit.data import labelled
from nlpkit.data.checks import check_tokenizer
from nlpkit.data.order import Epochs
from nlpkit.data.pretraining import say_long, source
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.exchange.opening import load
from nlpkit.machine.device import local_device
from nlpkit.models.base import Model
from nlpkit.models.load import Loaded, model_config, state_tensors
from nlpkit.objectives.base import Objective, vocabulary
from nlpkit.stages import defaults, finetune, learnt, plan, pretrain
from nlpkit.stages.advice import Guess, Ran
from nlpkit.stages.base import resolved, training_run
from nlpkit.tasks import reading
from nlpkit.training import loop
from nlpkit.training.loop import Evaluation
from nlpkit.training.options import flat, trains
from nlpkit.training.planning import estimate
from nlpkit.training.settings import check_dev

HARD = 2.0  # weight of the loss on the data's labels, if there are any (Sanh et al. 2019, their code)
COS = 1.0  # weight of the cosine between hidden states (the same)
EVALUATION = 4096  # tokens in a batch of an evaluation


@trains("distill")
@stage
def distill(
    teacher: Path,
    data: Path | Sequence[Path],
    output: Path,
    *,
    dev: Path | None = None,
    size: str | None = None,
    n_layers: int | None = None,
    init: Path | None = None,
    weight_kl: float = 5.0,
    weight_hard: float | None = None,
    weight_cos: float | None = None,
    temperature: float = 2.0,
    replay: int | None = None,
    labels: bool = True,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    on_error: str = "error",
    format: str | None = None,
    metric: str | None = None,
    mask_ratio: float | None = None,
    mask_mix: str | None = None,
    max_len: int | None = None,
    dropout: float | None = None,
    **training: Any,
) -> dict[str, Any]:
    """Train a student to predict what its teacher predicts; returns the summary of the file that was written.

    A pre-trained teacher takes token files, a fine-tuned one a file of texts, whose labels are used unless ``labels``
    is False. ``weight_hard`` None is 2, and 0 without labels; ``weight_cos`` None is 1, and 0 with ``replay``, which
    runs the teacher once and saves its ``replay`` most likely predictions (`nlpkit.compression.replay`). The student
    has half the teacher's layers (``n_layers``, ``size``), initialised from the teacher's, evenly spaced, or randomly
    where its width differs; ``init`` initialises it from a model of the same family. Columns and ``max_len`` None:
    those of the teacher's training. ``parts``,
    ``parallel``, ``precision`` and ``checkpointing`` are as in `nlpkit.stages.pretrain.pretrain`. Errors: as
    `nlpkit.stages.finetune.finetune`; an option that is of no use with this kind of teacher.
    """
    data = [data] if isinstance(data, (str, Path)) else list(data)
    arguments = flat(locals())
    with training_run("distill", arguments, inputs=("teacher", "data", "dev", "init"), settled=False) as (
        run,
        unresolved,
    ):
        loaded = load(run.paths("teacher")[0])
        check_dev(unresolved)
        setup = (task_setup if loaded.config.get("task") else language_setup)(loaded, run, unresolved)
        student_options = unresolved | {"max_len": setup.max_len, "weight_cos": setup.objective.weights.get("cos")}
        network = make_student(loaded, setup.heads, student_options, run.path("init"))
        facts = setup.facts(network)
        options = defaults.choose(run, facts, unresolved)
        epochs = setup.data(options["batch_tokens"]).accumulated(options["accumulate"])
        objective: Objective = setup.objective
        settings = finetune.settings_of(options, epochs)
        sizes = {"parameters": parameters(network), "teacher_parameters": estimate.parameters(loaded.model)}
        if options["dry_run"]:
            cost = plan.cost(network, objective, epochs, settings, measures=setup.evaluate is not None)
            columns = {name: (setup.task or {}).get(name) for name in ("text", "pair", "label")}
            weighed = {f"weight_{name}": value for name, value in objective.weights.items()}
            taken = resolved(network, settings, max_len=setup.max_len, **weighed, **columns)
            return run.plan(taken, **cost | sizes)
        device = local_device(options["device"])
        loaded.model.to(device)
        if replay is not None:
            objective = replaying.replay(setup.objective, epochs, run, device=device)
        ran = Ran.of(run, facts, options, cut=setup.cut, positions=setup.positions)
        guess = setup.guess()
        with learnt.watching(ran, guess) as seen:
            progress = loop.train(network, objective, epochs, settings, run, evaluate=setup.evaluate)
        learnt.say_classifier(seen, ran, guess, setup.train, setup.held)
        if WIDEN in network.heads:
            del network.heads[WIDEN]
        config = model_config(network, loaded.family, task=setup.task)
        cut = {} if setup.task else {"cut": objective.source}
        config["training"] = {
            "objective": objective.name,
            **cut,
            **progress.result(),
            "facts": facts.to_json(),
        }
        tokenizer = loaded.need_tokenizer().to_json()
        summary = run.write(state_tensors(network), kind="model", config=config, tokenizer=tokenizer)
        discard(run.output)
        replaying.discard(run)
        return {**summary, **sizes, "steps": progress.step, "score": progress.best_score}


def parameters(network: Model) -> int:
    """Parameters of the student that is written, without the head that only training needs."""
    spare = network.heads[WIDEN].parameters() if WIDEN in network.heads else ()
    return estimate.parameters(network) - sum(value.numel() for value in spare)


@dataclass(frozen=True)
class Setup:
    """What the student trains on: objective, data in batches of so many tokens, heads, the measurement on ``dev``, the
    task that its file records, the length of the longest sequence, and the size of the data; the loss of guessing, the
    labelled examples to compare with (None: none), and what was cut as in `nlpkit.stages.advice.Ran`."""

    objective: LanguageDistillation | TaskDistillation
    data: Callable[[int], Epochs]
    heads: tuple[str, ...]
    evaluate: Callable[[Model], Evaluation] | None
    task: Mapping[str, Any] | None
    max_len: int
    examples: int
    tokens: int
    guess: Callable[[], Guess | None]
    train: learnt.Labelled | None = None
    held: learnt.Labelled | None = None
    cut: float = 0.0
    positions: int | None = None

    def facts(self, network: Model) -> defaults.Facts:
        """What the student's defaults depend on."""
        pooling = (self.task or {}).get("pooling")
        return defaults.facts_of(
            network.config, examples=self.examples, tokens=self.tokens, pretrained=True, pooling=pooling
        )


def language_setup(loaded: Loaded, run: Run, options: Mapping[str, Any]) -> Setup:
    """A pre-trained teacher and token files. Errors: text instead of tokens, another tokenizer's tokens."""
    paths = run.paths("data")
    for path in paths:
        if not contents.holds_tensors(path):
            raise UserError(
                "is not a token file, and the teacher has no classifier to learn from",
                where=path,
                hint="nlpkit tokens makes a token file; nlpkit finetune makes a classifier",
            )
    refuse(
        {name: options[name] for name in ("text", "pair", "label", "metric")} | _unusual(options),
        "a pre-trained teacher teaches on token files, by their loss",
    )
    tokenizer = loaded.need_tokenizer()
    base_options = {**options, "masks": None, "mask_copies": None}
    base = objectives.build(loaded.family.objective, vocabulary(tokenizer), base_options)
    for head in base.heads:
        if head not in loaded.model.heads:
            raise UserError(
                f'the teacher has no head "{head}" to learn from',
                where=loaded.path,
                hint="pre-train it with this head, or distil a fine-tuned teacher",
            )
    if base.name != "mlm":
        refuse({name: options[name] for name in ("mask_ratio", "mask_mix")}, "the teacher fills no masks")
    frame = framings.framing(loaded.family.framing, tokenizer)
    max_len = loaded.length(options["max_len"])

    def opened(which: list[Path]) -> TokenFiles:
        files = TokenFiles.open(which)
        check_tokenizer(files, tokenizer, "the teacher's", where=which[0])
        return files

    def sequences(files: TokenFiles, batch_tokens: int) -> Epochs:
        return source(base.source, files, frame, max_len=max_len, batch_tokens=batch_tokens, seed=options["seed"])

    evaluate = None
    if dev := run.paths("dev"):
        held = sequences(opened(dev), EVALUATION)
        evaluate = pretrain.evaluator(held, base, options["seed"], local_device(options["device"]))
    objective = LanguageDistillation(loaded.model, base, options["temperature"], weights(options))
    files = opened(paths)
    say_long(base.source, files, frame, max_len, most=loaded.length(None))
    data = partial(sequences, files)
    guess = partial(learnt.guess_pieces, files, "hard")
    return Setup(objective, data, base.heads, evaluate, None, max_len, files.n_sentences, files.n_tokens, guess)


def task_setup(loaded: Loaded, run: Run, options: Mapping[str, Any]) -> Setup:
    """A fine-tuned teacher and texts, with labels or without. Errors: token files, labels the teacher does not know."""
    (path, *more) = run.paths("data")
    if more:
        raise UserError("a fine-tuned teacher takes one file of texts", where=more[0], hint="cat the files together")
    if contents.holds_tensors(path):
        raise UserError(
            f"is a {file.read(path).kind} file; a fine-tuned teacher teaches on texts",
            where=path,
            hint="give the labelled file, or distil the pre-trained model",
        )
    refuse({name: options[name] for name in ("mask_ratio", "mask_mix")}, "the teacher is a classifier")
    if not options["labels"] and not options["weight_hard"]:
        options = {**options, "weight_hard": 0.0}
    elif not options["labels"]:
        raise UserError(
            f"weight-hard is {options['weight_hard']}, but the labels are not read",
            hint="leave out --weight-hard or --no-labels",
        )
    task, encoder = reading.labeller(loaded, options)
    kind = tasks.kind(task.name)
    columns = {"text": task.text, "pair": task.pair, "on_error": options["on_error"], "format": options["format"]}
    examples = labelled.read(path, label=task.label if options["labels"] else None, **columns)
    sequences = reading.encode(task, examples, encoder, "data")
    classes = sequences.labels.get("classify")
    evaluate, held_out = None, None
    if dev := run.path("dev"):
        read = labelled.read(dev, label=task.label, **columns)
        held = reading.encode(task, read, encoder, "dev")
        held_out = read, held.labels["classify"]
        metric = choose({name: name for name in kind.metrics}, options["metric"] or kind.metrics[0], field="metric")
        evaluate = finetune.evaluator(task, held, metric, local_device(options["device"]))
    return Setup(
        TaskDistillation(loaded.model, task, options["temperature"], weights(options)),
        lambda batch_tokens: finetune.epochs_of(sequences, batch_tokens=batch_tokens, seed=options["seed"]),
        task.heads,
        evaluate,
        {**task.to_json(), "max_len": encoder.max_len},
        encoder.max_len,
        len(sequences),
        int(sequences.lengths.sum()),
        partial(learnt.guess_labels, classes, "hard"),
        None if classes is None else (examples, classes),
        held_out,
        sequences.cut.fraction,
        encoder.more_positions,
    )


def _unusual(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of labelled files that differ from their defaults."""
    return {
        "no_labels": None if options["labels"] else True,
        "on_error": None if options["on_error"] == "error" else options["on_error"],
        "format": options["format"],
    }


def weights(options: Mapping[str, Any]) -> dict[str, float]:
    """The weights of the three losses. Errors: a negative one, all zero, a temperature that is not positive; a replay
    with a loss on hidden states, which it does not save, or without a loss on the teacher's predictions."""
    hard, cos, replay = options["weight_hard"], options["weight_cos"], options["replay"]
    hard, cos = HARD if hard is None else hard, (COS if replay is None else 0.0) if cos is None else cos
    weights = {"kl": float(options["weight_kl"]), "hard": float(hard), "cos": float(cos)}
    for name, value in weights.items():
        if not 0 <= value < math.inf:
            raise UserError(f"weight-{name} is {value}, expected at least 0")
    if not any(weights.values()):
        raise UserError("all weights are 0, so there is nothing to learn")
    if not 0 < options["temperature"] < math.inf:
        raise UserError(f"temperature is {options['temperature']}, expected more than 0")
    if replay is not None:
        _check_replay(replay, weights)
    return weights


def _check_replay(replay: int, weights: Mapping[str, float]) -> None:
    if replay < 1:
        raise UserError(
            f"replay is {replay}, expected at least 1", hint="--replay 32 saves 32 pieces of each prediction"
        )
    if weights["cos"]:
        raise UserError(
            f"weight-cos is {weights['cos']}, but --replay saves no hidden states",
            hint="leave out --weight-cos or --replay",
        )
    refuse({"replay": None if weights["kl"] else replay}, "weight-kl is 0, so the teacher's predictions are not used")
    if world().size > 1:
        raise UserError("replay is for one process", hint="leave out --replay, or start without torchrun")
