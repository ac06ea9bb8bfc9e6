"""Generation: the model's own scores, cached or not; each continuation a function of its address; the command."""

from __future__ import annotations

import io
import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import making
import numpy as np
import pytest
import torch
import toys

import nlpkit
from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.decoding.causal import Reader, window_start
from nlpkit.decoding.sampling import Sampling
from nlpkit.decoding.text import Growing
from nlpkit.machine.threads import use_threads
from nlpkit.models import FAMILIES, family
from nlpkit.stages.generate import Writer

CAUSAL = [name for name in FAMILIES if Ability.CAUSAL in family(name).offers]
CLOSE = 2e-6  # of scores: the last bits of 32, on another path of the processor's library
PROMPT = "the king of france"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("generate")
    for name in FAMILIES:
        toys.model(made / f"{name}.safetensors", name)
    toys.model(made / "long.safetensors", "gpt2", max_len=80, seed=1)
    return made


pytestmark = pytest.mark.usefixtures("one_thread")  # where threads matter, a test says how many


def texts(folder: Path, *, model: str = "gpt2", **options: Any) -> list[str]:
    return [record["text"] for record in nlpkit.generate(folder / f"{model}.safetensors", **options)]


def uncached(loaded: Any, tokens: list[int]) -> np.ndarray:
    """The scores after the window of a text, read anew."""
    reader = Reader(loaded)
    return reader.read(tokens)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_scores_are_the_models(folder: Path, name: str) -> None:
    """Read at once, token by token, and in parts: against the model itself, without a cache."""
    loaded = nlpkit.load(folder / f"{name}.safetensors")
    tokens = np.random.default_rng(0).integers(0, loaded.tokenizer.vocab_size, 24).tolist()
    batch = making.make_batch([24])
    with torch.no_grad():
        output = loaded.model(batch.with_tokens(torch.tensor(tokens)))
        expected = loaded.model.heads["clm"](output.hidden).numpy()
    for sizes in ((24,), (1,) * 24, (5, 1, 1, 7, 2, 8), (23, 1)):
        reader, end = Reader(loaded), 0
        for size in sizes:
            found = reader.read(tokens[end : end + size])
            end += size
            assert np.abs(found - expected[end - 1]).max() < CLOSE


@pytest.mark.parametrize("name", CAUSAL)
def test_a_copy_goes_its_own_way(folder: Path, name: str) -> None:
    loaded = nlpkit.load(folder / f"{name}.safetensors")
    one = Reader(loaded)
    one.read([5, 6, 7])
    two = one.copy()
    first, second = one.read([8]), two.read([9])
    assert not np.array_equal(first, second) and one.tokens == [5, 6, 7, 8] and two.tokens == [5, 6, 7, 9]
    again = Reader(loaded)
    again.read([5, 6, 7])
    assert np.array_equal(again.read([9]), second), "bit by bit"


def test_the_window_holds_more_than_half_of_what_the_model_reads() -> None:
    for max_len in (1, 2, 3, 8, 24, 1024):
        starts = [window_start(length, max_len) for length in range(1, 5 * max_len)]
        assert starts[:max_len] == [0] * max_len
        assert all(before <= after for before, after in pairwise(starts))
        for length, start in enumerate(starts, 1):
            seen = length - start
            assert seen == length if length <= max_len else max_len // 2 < seen + (max_len == 1) <= max_len + 1
            assert 1 <= seen <= max_len


@pytest.mark.parametrize("name", CAUSAL)
def test_a_text_outgrows_the_model_and_goes_on(folder: Path, name: str) -> None:
    """Every token of 100, far past max_len 24, is the best after the window of the text before it, read anew."""
    loaded, said = nlpkit.load(folder / f"{name}.safetensors"), []
    with nlpkit.base.events.listen(lambda record: said.append(record.get("text"))):
        records = list(nlpkit.generate(loaded.path, prompt=PROMPT, max_new_tokens=100, temperature=0))
    assert records[0]["tokens"] == 100 and records[0]["finish"] == "length"
    assert said == ["a text outgrew the 24 tokens that the model reads; its beginning was forgotten as it went on"]
    tokens = loaded.tokenizer.encode(PROMPT).tolist()
    growing = Growing(loaded.tokenizer, tokens)
    parts = []
    for _ in range(100):
        best = int(uncached(loaded, tokens).argmax())
        tokens.append(best)
        parts.append(growing.add(best))
    assert "".join(parts) + growing.end() == records[0]["text"]


def test_a_prompt_may_be_longer_than_the_model_reads(folder: Path) -> None:
    loaded = nlpkit.load(folder / "gpt2.safetensors")
    tokens = loaded.tokenizer.encode("the king of france goes out " * 10).tolist()
    start = window_start(len(tokens), 24)
    assert np.array_equal(uncached(loaded, tokens), uncached(loaded, tokens[start:]))
    (text,) = texts(folder, prompt="the king of france goes out " * 10, max_new_tokens=3, temperature=0)
    assert text


def test_a_continuation_depends_on_its_address_only(folder: Path, tmp_path: Path) -> None:
    """Bit by bit the same with other samples, other prompts behind it, any threads; another for other addresses."""
    data = tmp_path / "prompts.jsonl"
    prompts = [PROMPT, "with his sword", PROMPT, ""]
    data.write_text("".join(json.dumps({"prompt": prompt, "id": f"p{i}"}) + "\n" for i, prompt in enumerate(prompts)))
    model = folder / "long.safetensors"
    options: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.5}
    whole = list(nlpkit.generate(model, data, samples=3, threads=1, **options))
    assert [(record["id"], record["sample"]) for record in whole] == [(f"p{i}", j) for i in range(4) for j in range(3)]
    assert [list(record) for record in whole[:1]] == [["id", "prompt", "sample", "text", "tokens", "finish", "seed"]]
    for threads in (1, 2):
        assert list(nlpkit.generate(model, data, samples=3, threads=threads, **options)) == whole
    assert list(nlpkit.generate(model, data, samples=1, **options)) == whole[::3]
    alone = list(nlpkit.generate(model, prompt=PROMPT, samples=3, **options))
    assert [record["text"] for record in alone] == [record["text"] for record in whole[:3]]
    assert len({record["text"] for record in [*whole[:3], *whole[6:9]]}) == 6, "one prompt, six addresses"
    other = list(nlpkit.generate(model, data, samples=3, seed=1, **options))
    assert all(left["text"] != right["text"] for left, right in zip(whole, other, strict=True))


def test_scores_have_the_same_bits_on_any_number_of_threads(tmp_path: Path) -> None:
    """Of a model large enough for its work to be divided."""
    toys.model(tmp_path / "wide.safetensors", "gpt2", n_layers=1, d_model=256, max_len=80)
    loaded = nlpkit.load(tmp_path / "wide.safetensors")

    def scores(threads: int) -> list[np.ndarray]:
        with use_threads(threads):
            reader = Reader(loaded)
            return [reader.read(tokens) for tokens in ([3, 4, 5, 6, 7, 8, 9], *([token % 20] for token in range(60)))]

    one = scores(1)
    for threads in (2, 3):
        assert all(np.array_equal(left, right) for left, right in zip(one, scores(threads), strict=True))


def test_an_empty_prompt_begins_a_document(folder: Path) -> None:
    """After an end of text, as documents did in training."""
    loaded = nlpkit.load(folder / "gpt2.safetensors")
    end = loaded.tokenizer.role("eos")
    (text,) = texts(folder, max_new_tokens=1, temperature=0)
    assert text == loaded.tokenizer.decode([int(uncached(loaded, [end]).argmax())])
    assert [text] == texts(folder, prompt="  ", max_new_tokens=1, temperature=0), "a prompt without tokens too"


def scripted(monkeypatch: pytest.MonkeyPatch, loaded: Any, text: str, *, after: int | None = None) -> None:
    """A model that says a text, whatever it reads."""
    ids = [*loaded.tokenizer.encode(text).tolist(), *([] if after is None else [after] * 50)]

    def read(self: Reader, tokens: list[int]) -> np.ndarray:
        place = len(self.tokens)
        self.tokens += tokens
        scores = np.zeros(self.vocab_size, np.float32)
        scores[ids[0 if place == 0 else len(self.tokens) - self.given]] = 1
        if place == 0:
            self.given = len(tokens)
        return scores

    monkeypatch.setattr(Reader, "read", read)


def written(folder: Path, monkeypatch: Any, script: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    loaded = nlpkit.load(folder / "gpt2.safetensors")
    scripted(monkeypatch, loaded, script, after=loaded.tokenizer.role("eos"))
    heard: list[str] = []
    (record,) = nlpkit.generate(folder / "gpt2.safetensors", prompt="the", temperature=0, hear=heard.append, **options)
    assert "".join(heard) == "the" + record["text"], "what is heard is what is written"
    return record, heard


def test_why_a_text_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "king goes out at night with his sword"
    record, heard = written(folder, monkeypatch, script)
    assert (record["text"], record["tokens"], record["finish"]) == (" " + script, 9, "end")
    assert heard == ["the", *(f" {word}" for word in script.split())], "each token as it comes"
    record, _ = written(folder, monkeypatch, script, max_new_tokens=3)
    assert (record["text"], record["tokens"], record["finish"]) == (" king goes out", 3, "length")
    record, heard = written(folder, monkeypatch, script, stop=["never", "at night with", "ith his sword"])
    assert (record["text"], record["tokens"], record["finish"]) == (" king goes out ", 6, "stop")
    assert heard == ["the", " king", " goes", " out", " "], "nothing of the stop text was shown"
    record, heard = written(folder, monkeypatch, script, stop=["at night sword"])
    assert record["text"] == " " + script and heard[4:6] == [" ", "at night with"], "held back, then known not to be"


def test_the_penalty_is_for_the_whole_text(folder: Path) -> None:
    """With a penalty that forbids, no word comes twice, nor one of the prompt's."""
    (text,) = texts(folder, prompt=PROMPT, max_new_tokens=8, temperature=0, repetition_penalty=1e9)
    words = [*PROMPT.split(), *text.split()]
    assert len(set(words)) == len(words)


def test_a_model_may_have_rows_that_no_piece_belongs_to(folder: Path) -> None:
    loaded = nlpkit.load(folder / "gpt2.safetensors")
    reader = Reader(loaded)
    reader.vocab_size = 7
    assert reader.read([1, 2]).shape == (7,)


def test_prompts_from_a_pipe_are_answered_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second prompt is written only when the first was answered: waiting for more would hang here."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as sink:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=source))
        answers = nlpkit.generate(folder / "gpt2.safetensors", prompt="-", max_new_tokens=2)
        sink.write(b'{"prompt": "the king"}\n')
        assert next(answers)["prompt"] == "the king"
        sink.write(b'{"prompt": "two\\nlines", "id": 7}\n')
        sink.close()
        assert next(answers).items() >= {"prompt": "two\nlines", "id": 7}.items()
        assert list(answers) == []


def test_the_command_prints_texts_for_people_and_objects_for_programs(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    model = str(folder / "gpt2.safetensors")
    (tmp_path / "p.txt").write_text("the king\nwith his sword\n")
    given = ["generate", model, str(tmp_path / "p.txt"), "--max-new-tokens", "4", "--samples", "2", "--seed", "5"]
    assert run([*given, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["prompt"] for record in records] == ["the king"] * 2 + ["with his sword"] * 2
    assert all(record["seed"] == 5 and record["tokens"] <= 4 for record in records)
    assert records == list(nlpkit.generate(model, tmp_path / "p.txt", max_new_tokens=4, samples=2, seed=5))
    assert run(given) == 0
    assert capsys.readouterr().out == "\n".join(f"{record['prompt']}{record['text']}\n" for record in records)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"the king\n")))
    assert run(["generate", model, "-", "--max-new-tokens", "4", "--seed", "5"]) == 0
    assert capsys.readouterr().out == f"the king{records[0]['text']}\n"


def test_a_terminal_is_shown_each_token_and_obeys_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from nlpkit.cli import generate

    shown: list[str] = []

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def flush(self) -> None:
            shown.append(self.getvalue())

    monkeypatch.setattr(sys, "stdout", Terminal())
    page = generate._Page()
    for part in ("the", " king\x1b[2J", "\n\tof"):
        page.hear(part)
    page.end()
    page.hear("x")
    assert shown == [
        "the",
        "the king\\x1b[2J",
        "the king\\x1b[2J\n\tof",
        "the king\\x1b[2J\n\tof\n",
        "the king\\x1b[2J\n\tof\n\nx",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["bert"], "is a BERT model, which reads a text from both sides and cannot continue it"),
        (["clf"], "has no language-model head"),
        (["bare"], "holds no tokenizer"),
        (["gpt2", "--temperature", "0", "--top-k", "3"], "--top-k changes nothing"),
        (["gpt2", "--temperature", "0", "--samples", "3"], "with temperature 0 all 3 continuations are the same"),
        (["gpt2", "--top-p", "1.5"], "top-p is 1.5, expected more than 0 and at most 1"),
        (["gpt2", "--repetition-penalty", "-1"], "repetition-penalty is -1.0"),
        (["gpt2", "--stop", ""], "a stop text is empty"),
        (["gpt2", "EMPTY"], "empty.txt: holds no prompts"),
        (["gpt2", "EMPTY", "--prompt", "x"], "prompts are read from a file or given with --prompt, not both"),
        (["gpt2", "--prompt", "\udcff"], "--prompt: is not UTF-8 text"),
        (["gpt2", "WRONG"], 'has no field "prompt"; did you mean "promt"?'),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, capsys: Any, options: list[str], said: str) -> None:
    (folder / "empty.txt").write_text("")
    (folder / "wrong.jsonl").write_text('{"promt": "the king"}\n')
    if options == ["clf"]:
        toys.texts(folder / "train.jsonl", 20)
        nlpkit.finetune(folder / "gpt2.safetensors", folder / "train.jsonl", folder / "clf.safetensors", steps=0)
    if options == ["bare"]:
        nlpkit.export(folder / "gpt2.safetensors", folder / "bare-dir", force=True)
        nlpkit.import_(folder / "bare-dir", folder / "bare.safetensors", tokenizer=False, force=True)
    names = {"EMPTY": str(folder / "empty.txt"), "WRONG": str(folder / "wrong.jsonl")}
    model, *rest = options
    assert run(["generate", str(folder / f"{model}.safetensors"), *(names.get(word, word) for word in rest)]) == 2
    found = capsys.readouterr()
    assert said in found.err and found.out == ""


def test_the_library_refuses_counts_below_one(folder: Path) -> None:
    for options in ({"samples": 0}, {"max_new_tokens": 0}):
        with pytest.raises(UserError, match="expected at least 1"):
            nlpkit.generate(folder / "gpt2.safetensors", **options)


def test_what_was_learnt_is_generated(tmp_path: Path, capsys: Any) -> None:
    """Through the command line: a model taught one long rhyme says it, and goes on past its max_len."""
    words = "the cat sat a dog ran off birds sing high we went home no one knew why".split()
    (tmp_path / "c.txt").write_text((" ".join(words) + " ") * 60 + "\n")
    tok, tokens, model = (str(tmp_path / f"{name}.safetensors") for name in ("tok", "tokens", "gpt2"))
    for line in (
        f"tokenizer train {tmp_path}/c.txt -o {tok} --kind word --vocab-size 40",
        f"tokens {tmp_path}/c.txt --tokenizer {tok} -o {tokens} --threads 1",
        f"pretrain {tokens} -o {model} --model gpt2 --n-layers 1 --d-model 32 --n-heads 2 --max-len 16 --steps 100 "
        "--batch-tokens 256 --lr 1e-2 --dropout 0 --threads 1",
        f"generate {model} --temperature 0 --max-new-tokens 40 --threads 1 --json --prompt",
    ):
        parts = line.split()
        assert run([*parts, "birds sing high we"] if parts[-1] == "--prompt" else parts) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    place = words.index("went")
    assert record["text"].split() == [words[(place + number) % len(words)] for number in range(40)]


def test_a_sampled_model_says_each_word_as_often_as_it_is_likely(folder: Path) -> None:
    """The whole chain: 600 first tokens of a random model against its softmax."""
    loaded = nlpkit.load(folder / "gpt2.safetensors")
    logits = uncached(loaded, loaded.tokenizer.encode(PROMPT).tolist()).astype(np.float64) * 4
    p = np.exp(logits - logits.max())
    p /= p.sum()
    reader, counts = Reader(loaded), np.zeros(len(p))
    first = reader.read(loaded.tokenizer.encode(PROMPT).tolist())
    chosen: list[int] = []
    writer = Writer(loaded.tokenizer, Sampling(0.25), -1, 1, (), 0, lambda part: None)
    for sample in range(600):
        growing = Growing(loaded.tokenizer, [])
        growing.add = lambda token: chosen.append(token) or ""  # type: ignore[method-assign]
        writer.write(reader, first, growing, 0, sample)
    counts = np.bincount(chosen, minlength=len(p))
    assert counts.sum() == 600
    chi_square = ((counts - 600 * p) ** 2 / (600 * p)).sum()
    assert chi_square < (len(p) - 1) + 4 * np.sqrt(2 * (len(p) - 1))


@pytest.mark.oracle
@pytest.mark.parametrize("seed", [1, 2])
def test_greedy_equals_transformers(tmp_path: Path, seed: int) -> None:
    """GPT2LMHeadModel.generate on the exported directory, random weights with a wide spread."""
    transformers = pytest.importorskip("transformers")
    path = toys.model(tmp_path / "m.safetensors", "gpt2", max_len=64, seed=seed)
    nlpkit.export(path, tmp_path / "theirs")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "theirs").eval()
    ours = nlpkit.load(path)
    for prompt in (PROMPT, "with his sword and horse", "night"):
        ids = ours.tokenizer.encode(prompt).tolist()
        for penalty in (None, 1.3):
            expected = theirs.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
                max_new_tokens=30,
                do_sample=False,
                repetition_penalty=penalty or 1.0,
                eos_token_id=ours.tokenizer.role("eos"),
                pad_token_id=0,
            )[0].tolist()
            (record,) = nlpkit.generate(
                path, prompt=prompt, max_new_tokens=30, temperature=0, repetition_penalty=penalty
            )
            assert record["tokens"] == len(expected) - len(ids)
            assert prompt + record["text"] == ours.tokenizer.decode(expected)
