"""From a notebook: paths as text, texts in memory, a model with methods, errors that say what to do."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import making
import numpy as np
import pytest
import torch
import toys

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.layers.linear import Linear

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["the king of france goes out", "laughter and funeral", "", "battle at night with his sword"]
PAIRS = [("the king laughter", "laughter at night"), ("funeral", "the sword and horse")]
SMALL: dict[str, Any] = {"n_layers": 1, "d_model": 16, "n_heads": 2, "max_len": 16, "steps": 1, "batch_tokens": 64}
STEP: dict[str, Any] = {"steps": 1, "batch_tokens": 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the functions read: a file of each kind."""
    folder = tmp_path_factory.mktemp("python")
    making.text_file(folder / "corpus.txt", lines=200, words=30)
    tokens = making.token_file(folder / "tokens.safetensors", documents=20)
    file.write(
        folder / "tokenizer.safetensors",
        {},
        kind="tokenizer",
        config={},
        tokenizer=file.read(tokens).tokenizer,
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    toys.model(folder / "bert.safetensors")
    toys.model(folder / "gpt2.safetensors", "gpt2")
    toys.texts(folder / "train.jsonl", 40)
    toys.pairs(folder / "pairs.tsv", 40)
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    (folder / "pairs.jsonl").write_text("".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in PAIRS))
    (folder / "similar.tsv").write_text("w0\tw1\t2\nw2\tw3\t1\nw1\tw2\t3\n")
    bert = folder / "bert.safetensors"
    nlpkit.finetune(bert, folder / "train.jsonl", folder / "clf.safetensors", **STEP)
    nlpkit.finetune(bert, folder / "pairs.tsv", folder / "pair.safetensors", text="a", pair="b", label="both", **STEP)
    nlpkit.vectors_train([folder / "corpus.txt"], folder / "vectors.safetensors", dim=8, epochs=1)
    nlpkit.vectors_cooccur([folder / "corpus.txt"], folder / "counts.safetensors")
    return folder


# What each function is called with; every path is text, and "out" a path that is free.
CALLS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "tokenizer_train": ([["corpus.txt"], "out"], {"kind": "char", "log": "log.jsonl"}),
    "tokenizer_encode": (["tokenizer.safetensors", "corpus.txt"], {}),
    "tokenizer_decode": (["tokenizer.safetensors", "ids.txt"], {}),
    "tokenizer_compare": ([["tokenizer.safetensors", "bert.safetensors"]], {"text": "corpus.txt"}),
    "tokens": (["corpus.txt", "out"], {"tokenizer": "tokenizer.safetensors"}),
    "vectors_train": ([["corpus.txt"], "out"], {"dim": 4, "epochs": 1, "dev": "corpus.txt"}),
    "vectors_cooccur": ([["corpus.txt"], "out"], {}),
    "vectors_glove": (["counts.safetensors", "out"], {"dim": 4, "epochs": 1}),
    "vectors_nearest": (["vectors.safetensors", ["w0"]], {"k": 2}),
    "vectors_analogy": (["vectors.safetensors", "w0", "w1", "w2"], {"k": 2}),
    "vectors_evaluate": (["vectors.safetensors", ["similar.tsv"]], {"resamples": 10}),
    "vectors_map": (["vectors.safetensors", "out.svg", ["w0", "w1", "w2"]], {}),
    "pretrain": (["tokens.safetensors", "out"], {**SMALL, "dev": "tokens.safetensors"}),
    "finetune": (["bert.safetensors", "train.jsonl", "out"], {**STEP, "dev": "train.jsonl"}),
    "distill": (["clf.safetensors", "train.jsonl", "out"], {**STEP, "n_layers": 1}),
    "tune_pretrain": (["tokens.safetensors", "out"], {**SMALL, "dev": "tokens.safetensors", "grid": ["lr=1,2"]}),
    "tune_finetune": (["bert.safetensors", "train.jsonl", "out"], {**STEP, "dev": "train.jsonl", "seeds": "1,2"}),
    "tune_distill": (["clf.safetensors", "train.jsonl", "out"], {**STEP, "dev": "train.jsonl", "n_layers": 1}),
    "plan": (["pretrain", {"tokens": ["tokens.safetensors"], "output": "out", **SMALL}], {}),
    "evaluate": (["clf.safetensors", "train.jsonl"], {"train": "train.jsonl", "resamples": 10, "output": "out"}),
    "predict": (["clf.safetensors", "texts.txt"], {}),
    "generate": (["gpt2.safetensors", "texts.txt"], {"max_new_tokens": 1}),
    "embed": (["bert.safetensors", "texts.txt"], {"output": "out"}),
    "export": (["bert.safetensors", "out-folder"], {}),
    "import": (["theirs", "out"], {}),
    "info": (["clf.safetensors"], {}),
    "lineage": (["clf.safetensors"], {}),
    "diff": (["clf.safetensors", "bert.safetensors"], {}),
    "verify": (["clf.safetensors"], {"inputs": "."}),
    "report": (["clf.safetensors", "out.html"], {}),
    "ls": ([], {}),
    "demo": (["demo"], {"data_only": True}),
}


def test_no_function_writes_over_what_it_reads(made: Path, tmp_path: Path) -> None:
    """Those too that make no artefact."""
    data, vectors = tmp_path / "t.jsonl", tmp_path / "v.svg"
    data.write_bytes((made / "train.jsonl").read_bytes())
    vectors.write_bytes((made / "vectors.safetensors").read_bytes())
    calls: list[tuple[Path, Any]] = [
        (data, lambda: nlpkit.evaluate(made / "clf.safetensors", data, output=data, force=True)),
        (data, lambda: nlpkit.report([data], output=data, force=True)),
        (vectors, lambda: nlpkit.vectors_map(vectors, vectors, top=5, force=True)),
        (vectors, lambda: nlpkit.export(vectors, vectors, to="word2vec", force=True)),
    ]
    for path, call in calls:
        before = path.read_bytes()
        with pytest.raises(UserError, match="the same command reads it"):
            call()
        assert path.read_bytes() == before


def test_no_function_is_left_out() -> None:
    assert set(CALLS) == {name.replace(" ", "_") for name in nlpkit.FUNCTIONS}


@pytest.mark.parametrize("name", CALLS)
def test_every_function_takes_paths_as_text(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    if name == "import":
        nlpkit.export("bert.safetensors", "theirs")
    (tmp_path / "ids.txt").write_text("6 7\n")
    args, given = CALLS[name]
    args = [f"{item}.safetensors" if item == "out" else item for item in args]
    given = {key: f"{value}.safetensors" if value == "out" else value for key, value in given.items()}
    found = getattr(nlpkit, "import_" if name == "import" else name)(*args, **given)
    if not isinstance(found, dict):
        found = list(found)
    assert found, name
    for text in (*args, *given.values()):
        if isinstance(text, str) and text.startswith("out"):
            assert Path(text).exists()


def test_a_signature_says_what_may_be_given_and_a_wrong_call_is_pythons_error() -> None:
    assert str(inspect.signature(nlpkit.verify)).startswith("(path: 'str | Path', *, chain: 'bool' = False, inputs: ")
    assert "Prove a file" in nlpkit.verify.__doc__ and nlpkit.verify is nlpkit.verify
    with pytest.raises(TypeError, match=r"lineage\(\) missing 1 required positional argument: 'path'"):
        nlpkit.lineage()


def records(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(list(words)) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_methods_give_the_numbers_of_the_command_line(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the bit, with and without 8-bit products; and the functions give what the methods give."""
    path, texts = str(made / "clf.safetensors"), str(made / "texts.txt")
    model = nlpkit.load(path)
    for flags, options in (([], {}), (["--int8"], {"int8": True}), (["--max-len", "6"], {"max_len": 6})):
        answers = records(capsys, "predict", path, texts, *flags)
        assert model.predict(TEXTS, **options) == answers == nlpkit.predict(path, TEXTS, **options)
        rows = records(capsys, "embed", path, texts, "--pooling", "mean", "--normalize", *flags)
        vectors = model.embed(TEXTS, pooling="mean", normalize=True, **options)
        assert vectors.dtype == np.float32 and vectors.shape == (len(TEXTS), 32)
        assert np.array_equal(vectors, np.array([row["embedding"] for row in rows], np.float32))
        assert np.array_equal(vectors, nlpkit.embed(path, iter(TEXTS), pooling="mean", normalize=True, **options))
    pairs = nlpkit.load(made / "pair.safetensors")
    answers = records(capsys, "predict", str(pairs.path), str(made / "pairs.jsonl"))
    assert pairs.predict(PAIRS) == pairs.predict([list(pair) for pair in PAIRS]) == answers
    assert nlpkit.predict(pairs, PAIRS) == answers
    writer = nlpkit.load(made / "gpt2.safetensors")
    words = ["--max-new-tokens", "5", "--samples", "2", "--seed", "3", "--json"]
    written = records(capsys, "generate", str(writer.path), texts, *words)
    options = {"max_new_tokens": 5, "samples": 2, "seed": 3}
    assert writer.generate(TEXTS, **options) == written == nlpkit.generate(str(writer.path), TEXTS, **options)
    assert writer.generate(TEXTS[0], **options) == written[:2] and writer.generate(max_new_tokens=1)[0]["prompt"] == ""


def test_methods_have_the_options_of_the_functions() -> None:
    """But for those of files."""
    for name, others in {
        "predict": {"model", "data", "text", "pair", "on_error", "format"},
        "embed": {"model", "data", "text", "on_error", "format", "output", "force"},
        "generate": {"model", "data", "prompt", "text", "on_error", "format", "hear"},
    }.items():
        function = dict(inspect.signature(getattr(nlpkit, name)).parameters)
        method = dict(list(inspect.signature(getattr(type_of_model(), name)).parameters.items())[2:])
        assert method == {key: value for key, value in function.items() if key not in others}


def type_of_model() -> Any:
    from nlpkit.stages.model import LoadedModel

    return LoadedModel


def test_a_model_answers_with_a_copy_of_its_weights_as_they_are(made: Path) -> None:
    model = nlpkit.load(made / "clf.safetensors")
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    first = model.predict(TEXTS)
    kept = model.for_inference(int8=False, device="cpu")
    assert model.for_inference(int8=False, device="cpu") is kept and kept.model is not model.model
    assert model.model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.model.parameters())
    with torch.no_grad():
        next(model.model.heads["classify"].parameters()).mul_(-3)
    assert model.predict(TEXTS) != first
    model.model.load_state_dict(before)
    assert model.predict(TEXTS) == first


def _swap_rows(model: Any) -> None:
    weight = next(model.parameters()).data
    weight[:] = weight.flip(0)


def _halve(module: Any, inputs: Any, output: Any) -> Any:
    return output * 0.5


class _Off(Linear):
    def forward(self, x_MD: torch.Tensor) -> torch.Tensor:
        return super().forward(x_MD) * 0


def _linear(model: Any) -> Any:
    return next(part for part in model.modules() if type(part) is Linear)


def _eps(model: Any) -> None:
    norm = next(part for part in model.modules() if hasattr(part, "eps"))
    norm.eps = 1.0


CHANGES: dict[str, Any] = {
    "weights through .data": lambda model: next(model.parameters()).data.mul_(2),
    "rows of .data exchanged": _swap_rows,
    "another tensor as .data": lambda model: setattr(_linear(model).weight, "data", _linear(model).weight * 3),
    "a hook": lambda model: _linear(model).register_forward_hook(_halve),
    "a hook before": lambda model: _linear(model).register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,)),
    "a class": lambda model: setattr(_linear(model), "__class__", _Off),
    "a method of the object": lambda model: setattr(_linear(model), "forward", lambda x_MD: x_MD * 0 + 1),
    "an attribute": _eps,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_after_the_first_answer_counts(made: Path, name: str) -> None:
    """As the same change before it does; and it does when it is taken back."""
    early, late = nlpkit.load(made / "bert.safetensors"), nlpkit.load(made / "bert.safetensors")
    before = late.embed(["the cat"])
    for loaded in (early, late):
        with torch.no_grad():
            handle = CHANGES[name](loaded.model)
    after = late.embed(["the cat"])
    assert np.array_equal(early.embed(["the cat"]), after) and not np.array_equal(before, after)
    if "hook" in name:
        handle.remove()
        assert np.array_equal(late.embed(["the cat"]), before)


def test_the_copy_is_kept_while_nothing_changes_and_made_anew_on_demand(made: Path) -> None:
    model = nlpkit.load(made / "bert.safetensors")
    first = model.embed(["the cat"])
    copied = model._inference["copy"]
    model.model.train()
    assert np.array_equal(model.embed(["the cat"]), first) and model._inference["copy"] is copied
    model.refresh()
    assert np.array_equal(model.embed(["the cat"]), first) and model._inference["copy"] is not copied


def test_a_model_shows_itself_in_a_few_lines(made: Path) -> None:
    shown = repr(nlpkit.load(str(made / "clf.safetensors"))).splitlines()
    assert shown == [
        "BERT, 2 layers x 32, sequences to 24 tokens",
        "  parameters  19,811",
        "  heads       classify (comedy, history, tragedy)",
        f"  tokenizer   word of {toys.tokenizer().vocab_size} pieces",
        f"  path        {made / 'clf.safetensors'}",
    ]


def test_no_texts_are_no_answers(made: Path) -> None:
    model = nlpkit.load(made / "clf.safetensors")
    assert model.predict([]) == [] and model.embed([]).shape == (0, 32)
    assert nlpkit.load(made / "gpt2.safetensors").generate([]) == []


def test_many_texts_are_answered_in_order(made: Path) -> None:
    model = nlpkit.load(made / "clf.safetensors")
    one = model.predict(TEXTS)
    assert model.predict(TEXTS * 300) == one * 300


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda model: model.predict("the king"), "one text came, expected a list of texts\nhint: "),
        (lambda model: model.predict(["a", float("nan")]), r"texts\[1\]: is a float, expected text"),
        (lambda model: model.predict([("a", "b")]), r"texts\[0\]: is a tuple, .*\nhint: .* single texts"),
        (lambda model: model.predict({"text": "the king"}), "a dict came, expected a list of texts"),
        (lambda model: model.predict({"a", "b"}), "a set came, expected a list of texts"),
        (lambda model: model.embed(None), "a NoneType came, expected a list of texts"),
        (lambda model: model.embed(["a\0b"]), r"texts\[0\]: holds a NUL character"),
        (lambda model: model.embed(["\ud800"]), r"texts\[0\]: holds half of a surrogate pair"),
        (lambda model: nlpkit.predict(model, ["a"], text="words"), "--text changes nothing: texts in memory have no"),
        (lambda model: nlpkit.embed(model, ["a"], output="x.safetensors"), "x.safetensors: a file records the files"),
        (lambda model: model.generate("a"), "cannot continue it\nhint: nlpkit pretrain --model gpt2"),
    ],
)
def test_what_is_no_list_of_texts_is_said(made: Path, call: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        call(nlpkit.load(made / "clf.safetensors"))


def test_pairs_are_asked_for_where_the_model_reads_pairs(made: Path) -> None:
    with pytest.raises(UserError, match=r"texts\[0\]: is a str, expected a pair of texts\nhint: .*\(text, other\)"):
        nlpkit.load(made / "pair.safetensors").predict(["the king"])
