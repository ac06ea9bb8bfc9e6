"""The commands against transformers: losses of pre-training, directories as MODEL, tokenizers and pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys

import nlpkit
from nlpkit import objectives
from nlpkit.artifact import file
from nlpkit.base.seeds import Address
from nlpkit.cli.app import run
from nlpkit.data.framing import ENCODER, framing
from nlpkit.data.pretraining import pairs
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.exchange.opening import load
from nlpkit.stages.pretrain import vocabulary
from nlpkit.tasks.reading import reader

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("one_thread")]
transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

LEARN: dict[str, Any] = {"lr": 3e-3, "batch_tokens": 256, "threads": 1, "steps": 40}
WORDS = ["The king goes out at night.", "with his sword, and a horse", "laughter", "funeral? battle! the the"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizers of their kinds, models of theirs and ours with both, a classifier of each family."""
    made = tmp_path_factory.mktemp("parity")
    toys.texts(made / "train.jsonl", 200)
    toys.texts(made / "dev.jsonl", 40, seed=1)
    texts = [row["text"] for row in toys.lines(made / "train.jsonl")]
    documents = ["\n".join(texts[start : start + 5]) for start in range(0, 200, 5)]
    (made / "corpus.txt").write_text("\n\n".join([*documents, "\n".join(WORDS)]) + "\n")
    shape: dict[str, Any] = {"n_layers": 2, "d_model": 24, "n_heads": 3, "d_ff": 40, "max_len": 40, "steps": 5}
    for family, kind, objective in (
        ("bert", "wordpiece", "mlm+nsp"),
        ("roberta", "bpe", "mlm"),
        ("gpt2", "bpe", "clm"),
    ):
        names = {name: made / f"{family}-{name}.safetensors" for name in ("tok", "tokens", "model", "clf")}
        nlpkit.tokenizer_train([made / "corpus.txt"], names["tok"], kind=kind, vocab_size=300, threads=1)
        nlpkit.tokens([made / "corpus.txt"], names["tokens"], tokenizer=names["tok"], threads=1)
        nlpkit.pretrain(
            [names["tokens"]], names["model"], model=family, objective=objective, threads=1, lr=1e-2, **shape
        )
        nlpkit.finetune(names["model"], made / "train.jsonl", names["clf"], pooling="pooler", **LEARN)
        for name in ("model", "clf"):
            nlpkit.export(names[name], made / f"{family}-{name}")
    return made


@pytest.mark.parametrize("combined", ["mlm+nsp", "mlm", "nsp"])
def test_berts_loss_is_theirs_on_the_same_masked_batch(folder: Path, combined: str) -> None:
    """S33, Q-A14: the mean over masked words plus the mean over pairs (Devlin et al. 2019, appendix A.2)."""
    loaded = load(folder / "bert-model.safetensors")
    made = loaded.need_tokenizer()
    options = {"mask_ratio": None, "mask_mix": None, "masks": None, "mask_copies": None}
    objective = objectives.build(combined, vocabulary(made), options)
    files = TokenFiles.open([folder / "bert-tokens.safetensors"])
    data = pairs(files, framing(ENCODER, made), max_len=40, batch_tokens=4000, seed=0)
    examples = np.arange(len(data.lengths))
    given = data.make(examples, 1)
    batch, target = objective.corrupt(given, Address(0, ("objective", 1)))
    with torch.no_grad():
        sums = objective.loss(loaded.model(batch), target)
    ours = sum(value.item() / target.counts[name] for name, value in sums.items())

    fields = target.fields if "+" in combined else {combined: target}
    labels = torch.full_like(batch.tokens, -100)
    if "mlm" in fields:
        labels[fields["mlm"].fields["positions"]] = fields["mlm"].fields["labels"]
    lengths = list(batch.packing.lengths)

    def rows(values: torch.Tensor, fill: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(values.split(lengths)), batch_first=True, padding_value=fill)

    inputs = {"input_ids": rows(batch.tokens, 0), "attention_mask": rows(torch.ones_like(batch.tokens), 0)}
    assert batch.segments is not None and len(set(lengths)) > 1
    inputs["token_type_ids"] = rows(batch.segments, 0)
    name, more = {
        "mlm+nsp": ("BertForPreTraining", {"labels": rows(labels, -100), "next_sentence_label": given.labels["nsp"]}),
        "mlm": ("BertForMaskedLM", {"labels": rows(labels, -100)}),
        "nsp": ("BertForNextSentencePrediction", {"labels": given.labels["nsp"]}),
    }[combined]
    theirs = getattr(transformers, name).from_pretrained(folder / "bert-model").eval()
    with torch.no_grad():
        expected = theirs(**inputs, **more).loss.item()
    assert ours == pytest.approx(expected, abs=1e-5)


def test_gpt2s_loss_is_theirs(folder: Path) -> None:
    found = nlpkit.evaluate(folder / "gpt2-model.safetensors", folder / "gpt2-tokens.safetensors")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder / "gpt2-model").eval()
    files = TokenFiles.open([folder / "gpt2-tokens.safetensors"])
    end = load(folder / "gpt2-model.safetensors").need_tokenizer().role("eos")
    assert end is not None
    stream, start = [end], 0
    for stop in files.document_token_ends.tolist():
        stream += [*files.tokens(start, stop).tolist(), end]
        start = stop
    total = count = 0.0
    for first in range(0, len(stream) - 2, 40):
        ids = torch.tensor([stream[first : first + 40]])
        following = torch.tensor(stream[first + 1 : first + 41])
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(
                theirs(ids).logits[0][: len(following)], following, reduction="none"
            )
        total += losses[following != end].sum().item()
        count += int((following != end).sum())
    assert found["data"]["answers"] == count
    assert found["metrics"]["loss"]["value"] == pytest.approx(total / count, abs=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("name", ["model", "clf"])
def test_the_tokenizer_gives_the_same_ids_framing_included(folder: Path, family: str, name: str) -> None:
    loaded = load(folder / f"{family}-{name}.safetensors")
    made = loaded.need_tokenizer()
    theirs = transformers.AutoTokenizer.from_pretrained(folder / f"{family}-{name}")
    frame = framing(loaded.family.framing, made)
    for text in WORDS:
        ids = made.encode(text).astype(np.int64)
        if family == "gpt2" and name == "model":  # a causal model's text begins and ends with nothing
            assert theirs(text)["input_ids"] == ids.tolist()
        else:
            assert theirs(text)["input_ids"] == frame.frame([ids]).tokens.tolist()
        assert theirs.decode(ids.tolist()).strip() == made.decode(ids.tolist()).strip()
    if frame.before:
        both = theirs(WORDS[0], WORDS[1])
        framed = frame.frame([made.encode(text).astype(np.int64) for text in WORDS[:2]])
        assert both["input_ids"] == framed.tokens.tolist()
        assert both.get("token_type_ids") == (framed.segments.tolist() if frame.segments else None)
    assert theirs.model_max_length == 40
    assert theirs.vocab_size == made.vocab_size


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_pipeline_says_what_predict_says(folder: Path, family: str, capsys: Any) -> None:
    assert run(["predict", str(folder / f"{family}-clf.safetensors"), str(folder / "dev.jsonl")]) == 0
    ours = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    classify = transformers.pipeline("text-classification", model=str(folder / f"{family}-clf"), top_k=None)
    for record, row in zip(ours, toys.lines(folder / "dev.jsonl"), strict=True):
        theirs = {item["label"]: item["score"] for item in classify([row["text"]])[0]}
        assert set(theirs) == set(record["probabilities"])
        assert max(theirs, key=theirs.__getitem__) == record["label"]
        for label, share in theirs.items():
            assert record["probabilities"][label] == pytest.approx(share, abs=1e-5)
    # And several at a time, which they pad.
    texts = [row["text"] for row in toys.lines(folder / "dev.jsonl")]
    for record, found in zip(ours, classify(texts, batch_size=8), strict=True):
        assert max(found, key=lambda item: item["score"])["label"] == record["label"]
    config = transformers.AutoConfig.from_pretrained(folder / f"{family}-clf")
    assert config.id2label == dict(enumerate(sorted(toys.KEYS)))
    assert config.label2id == {label: number for number, label in config.id2label.items()}


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_directory_is_a_model_for_every_command(folder: Path, tmp_path: Path, family: str, capsys: Any) -> None:
    """The same bytes and numbers from the directory as from the file it was made of."""
    single, both = folder / f"{family}-model.safetensors", folder / f"{family}-model"
    for source, target in ((single, "a"), (both, "b")):
        nlpkit.finetune(source, folder / "train.jsonl", tmp_path / f"{target}.safetensors", **{**LEARN, "steps": 5})
    left, right = (file.read(tmp_path / f"{name}.safetensors") for name in ("a", "b"))
    assert all(np.array_equal(left.array(name), right.array(name)) for name in left.tensors)
    assert left.config["task"] == right.config["task"] and left.tokenizer == right.tokenizer

    measured, answers = [], []
    for model in (folder / f"{family}-clf.safetensors", folder / f"{family}-clf"):
        assert run(["evaluate", str(model), str(folder / "dev.jsonl"), "--json"]) == 0
        measured.append(json.loads(capsys.readouterr().out)["metrics"])
        assert run(["predict", str(model), str(folder / "dev.jsonl")]) == 0
        answers.append(capsys.readouterr().out)
    assert measured[0] == measured[1] and answers[0] == answers[1]
    language = [nlpkit.evaluate(model, folder / "corpus.txt")["metrics"] for model in (single, both)]
    assert language[0] == language[1]


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("name", ["model", "clf"])
def test_there_and_back_is_the_same_model(folder: Path, tmp_path: Path, family: str, name: str) -> None:
    target = tmp_path / "back.safetensors"
    assert run(["import", str(folder / f"{family}-{name}"), "-o", str(target)]) == 0
    before, after = file.read(folder / f"{family}-{name}.safetensors"), file.read(target)
    assert set(before.tensors) == set(after.tensors) and before.tokenizer == after.tokenizer
    assert all(np.array_equal(before.array(key), after.array(key)) for key in before.tensors)
    shape = {key: value for key, value in before.config.items() if key not in ("task", "training", "heads")}
    assert shape == {key: after.config[key] for key in shape}
    assert set(before.config["heads"]) == set(after.config["heads"])
    if name == "clf":
        assert after.config["task"]["labels"] == before.config["task"]["labels"]


@pytest.mark.parametrize("pooler", [True, False])
def test_a_bert_of_theirs_is_fine_tuned_and_opens_there_again(folder: Path, tmp_path: Path, pooler: bool) -> None:
    """One layer, one head, a feed-forward that is narrower than the model, few positions; a pooler or none."""
    made = load(folder / "bert-model.safetensors").need_tokenizer()
    config = transformers.BertConfig(
        vocab_size=made.vocab_size + 5,
        hidden_size=20,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=12,
        max_position_embeddings=17,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    source, target = tmp_path / "theirs", tmp_path / "clf.safetensors"
    transformers.BertModel(config, add_pooling_layer=pooler).save_pretrained(source)
    transformers.AutoTokenizer.from_pretrained(folder / "bert-model").save_pretrained(source)
    loaded = load(source)
    assert loaded.config["pooler"] == pooler and loaded.config["d_ff"] == 12 and loaded.config["max_len"] == 17
    if not pooler:
        for run in ({"dry_run": True}, {}):
            with pytest.raises(nlpkit.base.errors.UserError, match="no pooler") as caught:
                nlpkit.finetune(source, folder / "train.jsonl", target, pooling="pooler", **LEARN, **run)
            assert caught.value.hint == "--pooling mean, cls or max needs none"
        assert not list(tmp_path.glob("clf*"))
        with pytest.raises(nlpkit.base.errors.UserError, match="no pooler"):
            next(nlpkit.embed(source, folder / "dev.jsonl", pooling="pooler"))
        nlpkit.finetune(source, folder / "train.jsonl", target, **LEARN)  # by the mean
        nlpkit.export(target, tmp_path / "back")
        assert load(tmp_path / "back").config["pooler"]  # the one that its pooling is written as
        predicted = [
            [list(row["probabilities"].values()) for row in nlpkit.predict(path, folder / "dev.jsonl")]
            for path in (target, tmp_path / "back")
        ]
        assert len(predicted[0]) == 40 and np.allclose(*predicted, rtol=0, atol=1e-5)
        return
    nlpkit.finetune(source, folder / "train.jsonl", target, **LEARN)
    nlpkit.export(target, tmp_path / "back")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "back").eval()
    mine = load(target)
    task, encoder = reader(mine, {})
    for row in toys.lines(folder / "dev.jsonl")[:8]:
        batch = encoder.encode([row["text"]], None).batch(np.array([0]))
        with torch.no_grad():
            expected = theirs(input_ids=batch.tokens[None]).logits
            assert torch.allclose(task.scores(mine.model(batch)), expected, atol=1e-5)
