"""nlpkit finetune: train a model on labelled examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from nlpkit import tasks
from nlpkit.artifact.resume import discard
from nlpkit.artifact.stage import stage
from nlpkit.base import events
from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError, choose
from nlpkit.base.seeds import Address
from nlpkit.data import labelled
from nlpkit.data.order import Epochs
from nlpkit.exchange import poolings
from nlpkit.exchange.opening import load
from nlpkit.machine.device import local_device
from nlpkit.models.base import Model
from nlpkit.models.load import Loaded, add_classifier, model_config, state_tensors, with_dropout
from nlpkit.stages import defaults, learnt, plan
from nlpkit.stages.advice import Ran
from nlpkit.stages.base import resolved, training_run
from nlpkit.stages.pretrain import total_steps
from nlpkit.tasks.base import Task
from nlpkit.tasks.pooling import check_pooler
from nlpkit.tasks.reading import encode, encoder_of
from nlpkit.tasks.scoring import score
from nlpkit.tasks.sequences import Sequences
from nlpkit.training import loop
from nlpkit.training.adapt.freeze import freeze as freeze_bottom
from nlpkit.training.loop import Evaluation
from nlpkit.training.options import flat, trains
from nlpkit.training.parallel.distributed import spread
from nlpkit.training.planning import estimate
from nlpkit.training.settings import Settings, check_dev


@trains("finetune")
@stage
def finetune(
    model: Path,
    train: Path,
    output: Path,
    *,
    dev: Path | None = None,
    task: str = "classify",
    text: str = "text",
    pair: str | None = None,
    label: str = "label",
    on_error: str = "error",
    format: str | None = None,
    pooling: str | None = None,
    freeze: str | None = None,
    metric: str | None = None,
    max_len: int | None = None,
    dropout: float | None = None,
    **training: Any,
) -> dict[str, Any]:
    """Train a model on a labelled file (JSONL, TSV, CSV); returns the summary of the file that was written.

    ``text``, ``pair`` and ``label`` are its columns. With ``dev`` the model is measured every ``eval_every`` steps
    (None: after each epoch), and the weights with the best ``metric`` are saved. ``max_len`` None: the
    model's own; other values that are None are functions of the run (nlpkit/stages/defaults.py). The heads of
    pre-training are left out of the result. ``freeze`` says which weights are frozen
    (`nlpkit.training.adapt.freeze`). ``parts``, ``parallel``, ``precision`` and ``checkpointing`` are as in
    `nlpkit.stages.pretrain.pretrain`. Errors: UserError for wrong options and inputs (a label of ``dev`` that ``train``
    does not have, with its line), RunError for a loss that is not a number.
    """
    arguments = flat(locals())
    with training_run("finetune", arguments, inputs=("model", "train", "dev"), settled=False) as (run, unresolved):
        kind = tasks.kind(task)
        chosen = choose({name: name for name in kind.metrics}, metric or kind.metrics[0], field="metric")
        check_dev(unresolved)
        loaded = load(run.paths("model")[0])
        encoder = encoder_of(loaded, max_len)
        columns: dict[str, Any] = {"text": text, "pair": pair, "label": label, "on_error": on_error, "format": format}
        examples = labelled.read(run.paths("train")[0], **columns)
        pooling = pooling or default_pooling(loaded)
        _check_pooling(loaded, pooling)
        objective = kind.learn(examples, {**unresolved, "pooling": pooling, "max_len": encoder.max_len})
        known = (loaded.config.get("task") or {}).get("labels", ())
        if set(known) == set(objective.labels):  # keep its classifier's order, which another tool may not have sorted
            objective = kind.restore({**objective.to_json(), "labels": known})
        encoded = encode(objective, examples, encoder, "train")
        facts = defaults.facts_of(
            loaded.model.config,
            examples=len(encoded),
            tokens=int(encoded.lengths.sum()),
            pretrained=was_trained(loaded),
            pooling=pooling,
        )
        options = defaults.choose(run, facts, unresolved)
        network = prepare(loaded, objective, dropout=options["dropout"], seed=options["seed"])
        freeze_bottom(network, freeze)
        data = epochs_of(encoded, batch_tokens=options["batch_tokens"], seed=options["seed"])
        data = data.accumulated(options["accumulate"])
        evaluate, held_out = None, None
        if dev is not None:
            read = labelled.read(run.paths("dev")[0], **columns)
            held = encode(objective, read, encoder, "dev")
            held_out = read, held.labels["classify"]
            evaluate = evaluator(objective, held, chosen, local_device(options["device"]))
        settings = settings_of(options, data)
        if options["dry_run"]:
            cost = plan.cost(network, objective, data, settings, measures=evaluate is not None)
            taken = resolved(network, settings, metric=chosen, max_len=encoder.max_len)
            return run.plan(taken, labels=list(objective.labels), **cost)
        classes = encoded.labels["classify"]
        ran = Ran.of(
            run,
            facts,
            options,
            cut=encoded.cut.fraction,
            positions=encoder.more_positions,
            usual_pooling=default_pooling(loaded),
            trained=facts.pretrained,
            updates_before=(loaded.config.get("training") or {}).get("steps") or 0,
        )
        guess = learnt.guess_labels(classes)
        with learnt.watching(ran, guess) as seen:
            progress = loop.train(network, objective, data, settings, run, evaluate=evaluate)
        learnt.say_classifier(seen, ran, guess, (examples, classes), held_out)
        config = model_config(network, loaded.family, task=objective.to_json())
        config["training"] = {
            "objective": objective.name,
            **progress.result(),
            "facts": facts.to_json(),
        }
        tokenizer = loaded.need_tokenizer().to_json()
        summary = run.write(state_tensors(network), kind="model", config=config, tokenizer=tokenizer)
        discard(run.output)
        return {
            **summary,
            "parameters": estimate.parameters(network),
            "steps": progress.step,
            "labels": list(objective.labels),
            "score": progress.best_score,
        }


def settings_of(options: Mapping[str, Any], data: Epochs) -> Settings:
    """The settings of a run on labelled examples, or of a distillation: by default measured after each epoch."""
    updates, epochs = total_steps(data, options["steps"], options["epochs"]), options["epochs"]
    epoch = math.ceil(updates / epochs) if epochs else data.count(1)  # epochs differ by an update or two
    return Settings.of(options, steps=updates, eval_every=options["eval_every"] or epoch)


def default_pooling(loaded: Loaded) -> str:
    """The pooling that reads what was trained: of the model's own classifier; the family's own vector of a sequence
    where it is a token's hidden state, or where an objective trained it (BERT's pooler: next sentences); else the mean
    of the tokens (masked words train the tokens, and nothing else)."""
    if pooling := (loaded.config.get("task") or {}).get("pooling"):
        return str(pooling)
    trained = (loaded.config.get("training") or {}).get("objective")  # absent: another tool's model, whose pooler is
    if Ability.CAUSAL in loaded.family.offers or (loaded.model.pools and (trained is None or "nsp" in trained)):
        return "pooler"
    return "mean"


def was_trained(loaded: Loaded) -> bool:
    """Whether a model's weights were trained; another tool's, of which no steps are recorded, were."""
    return (loaded.config.get("training") or {}).get("steps") != 0


def _check_pooling(loaded: Loaded, pooling: str) -> None:
    check_pooler(loaded.model, pooling, where=loaded.path)
    if pooling == "cls" and Ability.CAUSAL in loaded.family.offers:
        raise UserError(
            'pooling "cls" reads the first token, which in a causal model has seen nothing but itself',
            hint="use pooler (the last token), last, mean or max",
        )
    names = loaded.family.huggingface
    if names is not None and (why := poolings.missing(pooling, names)):
        events.note(f"the result cannot be exported: {why}; {poolings.hint(names)}")


def prepare(loaded: Loaded, task: Task, *, dropout: float | None, seed: int) -> Model:
    """The model with the task's head: its own if it was trained on the same labels, else a new one."""
    network = loaded.model if dropout is None else with_dropout(loaded, dropout)
    known = tuple((loaded.config.get("task") or {}).get("labels", ()))
    same = known == task.labels
    for name in [name for name in network.heads if not (same and name == "classify")]:
        del network.heads[name]
    if same:
        events.note(f"{loaded.path.name} knows these labels already; its classifier is trained further")
    else:
        if known:
            events.note(f"{loaded.path.name} knows other labels ({', '.join(known)}); its classifier is replaced")
        torch.manual_seed(Address(seed, ("init",)).torch_seed())
        add_classifier(network, len(task.labels))
    return network


def epochs_of(sequences: Sequences, *, batch_tokens: int, seed: int) -> Epochs:
    """The order in which the loop reads the sequences."""
    return Epochs(sequences.lengths, sequences.batch, batch_tokens=batch_tokens, seed=seed)


def evaluator(task: Task, held: Sequences, metric: str, device: str) -> Callable[[Model], Evaluation]:
    """A function that measures the model on held-out examples; a loss is better when smaller, the rest when larger."""

    def evaluate(model: Model) -> Evaluation:
        scores = task.quick(score(model, task, held, device=device, spread=spread), held)
        return Evaluation(-scores[metric] if metric == "loss" else scores[metric], scores)

    return evaluate
