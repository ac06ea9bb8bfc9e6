"""nlpkit pretrain: train a model on token files with an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nlpkit import objectives
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.resume import begun, discard
from nlpkit.artifact.stage import stage
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.base.seeds import Address
from nlpkit.data import framing as framings
from nlpkit.data import staged
from nlpkit.data.checks import check_tokenizer
from nlpkit.data.order import Epochs
from nlpkit.data.pretraining import SOURCES, say_long, source
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.exchange.opening import load
from nlpkit.machine.device import local_device
from nlpkit.models import family as family_of
from nlpkit.models.base import Config, Family, Model
from nlpkit.models.load import Loaded, model_config, state_tensors, with_dropout
from nlpkit.models.sizes import config_for
from nlpkit.objectives import mlm
from nlpkit.objectives.base import Objective, vocabulary
from nlpkit.stages import defaults, learnt, plan, recipes
from nlpkit.stages.advice import Ran
from nlpkit.stages.base import resolved, training_run
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.training.adapt.vectors import begin_with_vectors, begin_with_word2vec, seconds_of_word2vec
from nlpkit.training.loop import Evaluation, train
from nlpkit.training.measure import mean_losses
from nlpkit.training.options import flat, trains
from nlpkit.training.planning import estimate
from nlpkit.training.settings import Settings, check_dev

# Defaults of a model without --init.
MODEL, SIZE = "bert", "tiny"
EMBEDDINGS = {"word2vec": True, "random": False}  # how the token embeddings begin: whether the text is read for them
SHAPE = ("model", "size", "n_layers", "d_model", "n_heads", "d_ff")  # options that --init refuses


@trains("pretrain")
@stage
def pretrain(
    tokens: Sequence[Path],
    output: Path,
    *,
    model: str | None = None,
    size: str | None = None,
    objective: str | None = None,
    recipe: str | None = None,
    dev: Path | None = None,
    init: Path | None = None,
    vectors: Path | None = None,
    embeddings: str | None = None,
    n_layers: int | None = None,
    d_model: int | None = None,
    n_heads: int | None = None,
    d_ff: int | None = None,
    max_len: int | None = None,
    short_fraction: float | None = None,
    dropout: float | None = None,
    cut: str | None = None,
    mask_ratio: float | None = None,
    mask_mix: str | None = None,
    masks: str | None = None,
    mask_copies: int | None = None,
    **training: Any,
) -> dict[str, Any]:
    """Train a model on token files; returns the summary of the file that was written.

    ``init`` starts from a model's weights instead of random ones (its family and shape are then its own, and so is its
    dropout unless one is given); else it is a ``model`` (None: bert) of a ``size`` (tiny), which the other sizes
    override. Its token ``embeddings`` begin random, or as word2vec vectors of the text, or as ``vectors``, a file's
    (`nlpkit.training.adapt.vectors`).
    With ``dev`` (a token file) the loss is measured every ``eval_every`` steps and the best weights are saved.
    ``short_fraction`` of the updates, the first, read sequences of a quarter of ``max_len`` (`nlpkit.data.staged`).
    ``recipe`` sets what is None (nlpkit/stages/recipes.py), and what is None after that is a function of the run
    (nlpkit/stages/defaults.py). ``steps=0`` writes the initialised model. ``cut`` overrides how the objective wants its
    text cut (blocks, sentences, pairs). ``parts`` of each batch are divided among several processes
    (docs/distributed.md), by ``parallel``; ``precision`` and ``checkpointing`` save memory (docs/memory.md). Errors:
    UserError for wrong options and inputs, among them an option that would change nothing; RunError for a loss that is
    not a number; Interrupted when stopped; the same call again then resumes.
    """
    tokens = [tokens] if isinstance(tokens, (str, Path)) else list(tokens)
    arguments = flat(locals())
    with training_run("pretrain", arguments, inputs=("tokens", "dev", "init", "vectors"), settled=False) as (
        run,
        unresolved,
    ):
        files = TokenFiles.open(run.paths("tokens"))
        tokenizer = files.tokenizer
        shape = {name: arguments[name] for name in SHAPE}
        loaded = None if init is None else load(run.paths("init")[0])
        family = family_of(model or MODEL) if loaded is None else loaded.family
        config = _config(shape, tokenizer) if loaded is None else loaded.model.config
        facts = defaults.facts_of(
            config,
            examples=files.n_sentences,
            tokens=files.n_tokens,
            pretrained=loaded is not None,
            documents=files.n_documents,
            vectors=vectors is not None,
        )
        options = defaults.choose(run, facts, unresolved, recipes.options_of(recipe, objective or family.objective))
        masking = {name: options[name] for name in mlm.OPTIONS}
        dropout, max_len = options["dropout"], options["max_len"]
        seed, device = options["seed"], local_device(options["device"])
        torch.manual_seed(Address(seed, ("init",)).torch_seed())
        if loaded is None:
            config = replace(config, dropout=dropout, max_len=max_len)
            start = _begin(family, config, objective, masking, tokenizer)
            _begin_embeddings(start.network, files, run, options)
        else:
            refuse(shape, "--init has a family and a shape of its own")
            refuse({"vectors": vectors, "embeddings": embeddings}, "--init has embeddings of its own")
            start = _continue(loaded, objective, masking, tokenizer, max_len, dropout)
        network, task, max_len = start.network, start.task, start.max_len
        if "mlm" not in task.heads:
            refuse(masking, f'objective "{task.name}" masks nothing')
        check_dev(options)
        how = _cut(cut, task)
        frame = framings.framing(family.framing, tokenizer)

        def sequences(chosen: TokenFiles, length: int = max_len) -> Epochs:
            return source(how, chosen, frame, max_len=length, batch_tokens=options["batch_tokens"], seed=seed)

        def epochs_at(length: int) -> Epochs:
            return repeated(sequences(files, length), mlm.copies(masking)).accumulated(options["accumulate"])

        longest = max(defaults.LONG, max_len) if loaded is None else loaded.model.config.max_len
        say_long(how, files, frame, max_len, most=longest)
        data = epochs_at(max_len)
        settings = Settings.of(options, steps=total_steps(data, options["steps"], options["epochs"]))
        first = short_updates(options["short_fraction"], settings.steps)
        training_data = staged.Staged(epochs_at(staged.short(max_len)), first, data) if first else data
        evaluate = None
        if dev is not None:
            held = TokenFiles.open(run.paths("dev"))
            check_tokenizer(held, tokenizer, "the training text's", where=dev)
            evaluate = evaluator(sequences(held), task, seed, device)
        if options["dry_run"]:
            taken = resolved(network, settings, objective=task.name, cut=how, max_len=max_len)
            taken |= mlm.resolved(masking) if "mlm" in task.heads else {}
            cost = plan.cost(network, task, data, settings, measures=evaluate is not None)
            return run.plan(taken, **_with_word2vec(cost, network, files, options["embeddings"]))
        ran = Ran.of(run, facts, options)
        guess = learnt.guess_pieces(files, "mlm" if "mlm" in task.heads else "clm")
        with learnt.watching(ran, guess) as seen:
            progress = train(network, task, training_data, settings, run, evaluate=evaluate)
        learnt.say_loss(seen, ran, guess)
        written = model_config(network, family)
        written["training"] = {"objective": task.name, "cut": how, **progress.result(), "facts": facts.to_json()}
        summary = run.write(state_tensors(network), kind="model", config=written, tokenizer=tokenizer.to_json())
        discard(run.output)
        return {**summary, "parameters": estimate.parameters(network), "steps": progress.step}


def total_steps(data: Epochs, steps: int | None, epochs: int | None) -> int:
    """Updates of a run: ``steps``, or as many as the epochs have (default one). Errors: both are set."""
    if steps is not None and epochs is not None:
        raise UserError("both steps and epochs are given", hint="--steps counts updates, --epochs passes; give one")
    if steps is not None:
        return steps
    return data.count(epochs or 1)


def short_updates(fraction: float | None, steps: int) -> int:
    """The number of first updates that read short sequences."""
    return round((fraction or 0.0) * steps)


def evaluator(data: Epochs, task: Objective, seed: int, device: str) -> Callable[[Model], Evaluation]:
    """A function that measures the objective's loss on all of ``data``, every time with the same masks."""

    def evaluate(model: Model) -> Evaluation:
        losses = mean_losses(model, task, data, Address(seed, ("objective", 0)), device)
        total = sum(task.weights[name] * value for name, value in losses.items())
        return Evaluation(-total, {f"dev_{name}_loss": value for name, value in losses.items()})

    return evaluate


def check_matches(family: Family, task: Objective) -> None:
    """Errors: an objective that needs what the family's models cannot do."""
    if lacks := sorted(need.value for need in task.needs - family.offers):
        raise UserError(
            f'model "{family.name}" cannot be trained with objective "{task.name}", which needs a model that '
            f"{' and '.join(lacks)}",
            hint=f"its objective is {family.objective}",
        )


@dataclass(frozen=True)
class Start:
    """The start of a run: a model, its objective, and the length of its sequences."""

    network: Model
    task: Objective
    max_len: int


def _cut(cut: str | None, task: Objective) -> str:
    """How the text is cut. Errors: an unknown way, one that the objective cannot read."""
    how = cut or task.source
    choose(SOURCES, how, field="cut")
    if "pairs" in (how, task.source) and how != task.source:
        raise UserError(
            f'objective "{task.name}" reads {task.source}, cut is {how}',
            hint="leave out --cut" if task.source == "pairs" else "only nsp reads pairs",
        )
    return how


def _config(shape: Mapping[str, Any], tokenizer: Tokenizer) -> Config:
    """The config of a new model, without dropout and length. Errors: an unknown name, sizes that do not fit."""
    sizes = {name: value for name, value in shape.items() if name not in ("model", "size")}
    return config_for(
        family_of(shape["model"] or MODEL),
        shape["size"] or SIZE,
        vocab_size=tokenizer.vocab_size,
        max_len=defaults.MAX_LEN,
        dropout=0.0,
        **sizes,
    )


def _begin(
    family: Family, config: Config, objective: str | None, masking: Mapping[str, Any], tokenizer: Tokenizer
) -> Start:
    """A new model; its weights come from torch's global generator. Errors: an unknown objective."""
    task = objectives.build(objective or family.objective, vocabulary(tokenizer), masking)
    check_matches(family, task)
    return Start(family.build(config, task.heads), task, config.max_len)


def _begin_embeddings(network: Model, files: TokenFiles, run: Run, options: Mapping[str, Any]) -> None:
    """The first values of the token embeddings, unless a saved state has the run's own. Errors: an unknown way, two at
    once; those of vectors."""
    how, paths = options["embeddings"], run.paths("vectors")
    if paths:
        refuse({"embeddings": how}, "--vectors has the embeddings")
        begin_with_vectors(network, files.tokenizer, paths[0])
    elif choose(EMBEDDINGS, how, field="embeddings") and not options["dry_run"] and not begun(run):
        begin_with_word2vec(network, files, Address(options["seed"], ("embeddings",)), run.output)


def _with_word2vec(cost: dict[str, Any], network: Model, files: TokenFiles, embeddings: str | None) -> dict[str, Any]:
    """An estimated ``cost`` with the seconds of the word vectors that the embeddings begin as."""
    if not cost or embeddings != "word2vec":
        return cost
    return cost | {"seconds": round(cost["seconds"] + seconds_of_word2vec(network, files), 3)}


def _continue(
    loaded: Loaded,
    objective: str | None,
    masking: Mapping[str, Any],
    tokenizer: Tokenizer,
    max_len: int | None,
    dropout: float | None,
) -> Start:
    """The model that ``--init`` names. Errors: another tokenizer than the token file's, no head for the objective."""
    path = loaded.path
    if loaded.tokenizer is None or loaded.tokenizer.fingerprint != tokenizer.fingerprint:
        theirs = "none" if loaded.tokenizer is None else f"{loaded.tokenizer.vocab_size:,} pieces"
        raise UserError(
            f"its tokenizer ({theirs}) is not the token file's ({tokenizer.vocab_size:,} pieces)",
            where=path,
            hint="tokenise the corpus again with --tokenizer set to this model",
        )
    network = loaded.model if dropout is None else with_dropout(loaded, dropout)
    task = objectives.build(objective or loaded.family.objective, vocabulary(tokenizer), masking)
    check_matches(loaded.family, task)
    missing = [name for name in task.heads if name not in network.heads]
    if missing:
        raise UserError(
            f'has no head "{missing[0]}" for objective "{task.name}"',
            where=path,
            hint=f"its heads: {', '.join(network.heads) or 'none'}",
        )
    if "classify" in network.heads:  # of a task, and the result has no task
        del network.heads["classify"]
    return Start(network, task, loaded.length(max_len))


def repeated(data: Epochs, copies: int | None) -> Epochs:
    """The same data with the sequences of epoch mod ``copies``: static masks need the same sentence pairs as well."""
    if copies is None:
        return data
    return Epochs(
        data.lengths,
        lambda examples, epoch: data.make(examples, epoch % copies),
        batch_tokens=data.batch_tokens,
        seed=data.seed,
    )
