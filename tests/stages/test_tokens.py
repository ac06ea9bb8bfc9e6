"""nlpkit tokens: the file is its documents' ids one behind the other, however it was made."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import WORDS, tokenizer

from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.data import texts
from nlpkit.data.corpus import documents
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.stages import tokens as room
from nlpkit.stages.tokens import parse_shard, tokens
from nlpkit.tokenizers.base import DEFAULT_SPECIAL
from nlpkit.tokenizers.bpe import BPE
from nlpkit.tokenizers.pretokenize import BYTE_LETTERS


@pytest.fixture(scope="module")
def tok(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tok") / "tok.safetensors"
    file.write(
        path,
        {},
        kind="tokenizer",
        config={},
        tokenizer=tokenizer().to_json(),
        provenance={},
        history={},
        determinism={},
    )
    return path


def text(count: int, *, seed: int = 0) -> str:
    """Documents of one to nine sentences, some with a line that is only white space between."""
    rng = Address(seed, ("text",)).generator()
    made = []
    for _ in range(count):
        made.append("\n".join(WORDS[int(index)] for index in rng.integers(len(WORDS), size=int(rng.integers(1, 10)))))
    return "\n \n".join(made) + "\n"


def put(path: Path, content: str) -> Path:
    path.write_text(content, "utf-8")
    return path


def test_a_token_file_is_its_documents_encoded_one_by_one(tmp_path: Path, tok: Path) -> None:
    paths = [put(tmp_path / "a.txt", text(20)), put(tmp_path / "b.jsonl", "")]
    rows = [{"body": text(1, seed=seed)} for seed in range(5)] + [{"body": " \n"}, {"body": "a\u2028b  \r\nno"}]
    put(paths[1], "\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match='has no field "text"'):
        tokens(paths, tmp_path / "t.safetensors", tokenizer=tok)
    summary = tokens(paths, tmp_path / "t.safetensors", tokenizer=tok, field="body")
    made, found = tokenizer(), file.read(tmp_path / "t.safetensors")
    expected = list(documents(paths, field="body"))
    ids, ends, last = found.array("tokens"), found.array("sentence_ends"), found.array("document_ends")
    assert (ids.dtype, ends.dtype, last.dtype) == (np.uint16, np.int64, np.int64)
    sentences = [sentence for document in expected for sentence in document.sentences]
    joined = [
        made.encode(f"{sentence} " if number < len(document.sentences) - 1 else sentence).tolist()
        for document in expected
        for number, sentence in enumerate(document.sentences)
    ]
    assert ids.tolist() == [number for sentence in joined for number in sentence]
    assert np.diff(ends, prepend=0).tolist() == [len(sentence) for sentence in joined]
    assert np.diff(last, prepend=0).tolist() == [len(document.sentences) for document in expected]
    counts = {
        "n_tokens": len(ids),
        "n_sentences": len(sentences),
        "n_documents": 26,
        "n_bytes": sum(len(document.text.encode()) for document in expected),
        "n_words": sum(len(sentence.split()) for sentence in sentences),
    }
    assert counts.items() <= summary.items()
    assert found.config == {"vocab_size": made.vocab_size, **counts}
    assert room.describe(tmp_path / "t.safetensors") == found.config
    assert [item["name"] for item in found.provenance["inputs"]] == ["a.txt", "b.jsonl", "tok.safetensors"]


def test_processes_change_no_byte(tmp_path: Path, tok: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "BATCH", 1 << 10)
    corpus = put(tmp_path / "a.txt", text(400) * 2 + "\n".join(["x" * 40] * 300))
    started: list[int | None] = []
    original = room.in_order
    monkeypatch.setattr(
        room, "in_order", lambda *args, **more: started.append(more["threads"]) or original(*args, **more)
    )
    hashes = {
        tokens([corpus], tmp_path / f"t{threads}.safetensors", tokenizer=tok, threads=threads)["sha256"]
        for threads in (1, 2, 3)
    }
    assert started == [1, 2, 3]  # large enough that none was done in this process for being small
    assert len(hashes) == 1
    monkeypatch.setattr(texts, "BATCH", 1 << 20)
    assert {tokens([corpus], tmp_path / "t.safetensors", tokenizer=tok)["sha256"]} == hashes


def test_a_document_in_parts_is_one_document(tmp_path: Path, tok: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = put(tmp_path / "a.txt", "\n".join(WORDS * 40) + "\n\nno\n")
    whole = tokens([corpus], tmp_path / "whole.safetensors", tokenizer=tok)
    monkeypatch.setattr("nlpkit.data.corpus.PART", 50)
    monkeypatch.setattr(texts, "BATCH", 120)
    assert tokens([corpus], tmp_path / "parts.safetensors", tokenizer=tok, threads=2)["sha256"] == whole["sha256"]
    assert whole["n_documents"] == 2
    for shard, count in (("1/2", 1), ("2/2", 1)):
        path = tmp_path / f"{shard[0]}.safetensors"
        assert tokens([corpus], path, tokenizer=tok, shard=shard)["n_documents"] == count


@pytest.mark.parametrize("count", [1, 3, 30])
def test_shards_are_the_whole(tmp_path: Path, tok: Path, count: int) -> None:
    corpus = [put(tmp_path / f"{seed}.txt", text(7, seed=seed)) for seed in range(3)]
    tokens(corpus, tmp_path / "whole.safetensors", tokenizer=tok)
    whole = TokenFiles.open([tmp_path / "whole.safetensors"])
    parts: list[list[list[int]]] = []
    for number in range(count, 0, -1):
        path = tmp_path / f"part{number}.safetensors"
        if number > 21:
            with pytest.raises(UserError, match="holds no text"):
                tokens(corpus, path, tokenizer=tok, shard=f"{number}/{count}")
            continue
        tokens(corpus, path, tokenizer=tok, shard=f"{number}/{count}")
        parts.insert(0, contents(TokenFiles.open([path])))
    assert contents(whole) == [parts[place % count][place // count] for place in range(21)]


def contents(files: TokenFiles) -> list[list[int]]:
    ends = [0, *files.document_token_ends.tolist()]
    return [files.tokens(ends[place], ends[place + 1]).tolist() for place in range(files.n_documents)]


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "-1/2", "1/2/3", " 1/2", "1/2\n", "a/b", "1/9999999999"])
def test_what_is_no_shard_is_said(shard: str) -> None:
    with pytest.raises(UserError, match="is not k/n with 1 <= k <= n"):
        parse_shard(shard)


def test_several_files_read_as_one(tmp_path: Path, tok: Path) -> None:
    corpus = [put(tmp_path / f"{seed}.txt", text(6, seed=seed)) for seed in range(3)]
    paths = []
    for source in corpus:
        paths.append(tmp_path / f"{source.stem}.safetensors")
        tokens([source], paths[-1], tokenizer=tok)
    tokens(corpus, tmp_path / "one.safetensors", tokenizer=tok)
    many, one = TokenFiles.open(paths), TokenFiles.open([tmp_path / "one.safetensors"])
    assert (many.n_tokens, many.n_sentences, many.n_documents) == (one.n_tokens, one.n_sentences, one.n_documents)
    assert np.array_equal(many.sentence_ends, one.sentence_ends)
    assert np.array_equal(many.document_ends, one.document_ends)
    rng = Address(0, ("places",)).generator()
    for _ in range(200):
        start, stop = sorted(rng.integers(one.n_tokens + 1, size=2).tolist())
        assert np.array_equal(many.tokens(start, stop), one.tokens(start, stop))
    for edge in many.starts.tolist():
        for start in range(max(0, edge - 2), min(one.n_tokens, edge + 2)):
            assert np.array_equal(many.tokens(start, one.n_tokens), one.tokens(start, one.n_tokens))
    places = rng.integers(one.n_tokens, size=(5, 7))
    assert np.array_equal(many.take(places), one.take(places)) and many.take(places).shape == (5, 7)
    assert all(isinstance(part, np.memmap) for part in many.parts)


def test_files_of_other_tokenizers_do_not_mix(tmp_path: Path, tok: Path) -> None:
    made = tokenizer().to_json()
    made["pieces"] = [*made["pieces"], "ß"]
    file.write(
        tmp_path / "other.safetensors",
        {},
        kind="tokenizer",
        config={},
        tokenizer=made,
        provenance={},
        history={},
        determinism={},
    )
    corpus = put(tmp_path / "a.txt", text(2))
    tokens([corpus], tmp_path / "one.safetensors", tokenizer=tok)
    tokens([corpus], tmp_path / "two.safetensors", tokenizer=tmp_path / "other.safetensors")
    with pytest.raises(UserError) as caught:
        TokenFiles.open([tmp_path / "one.safetensors", tmp_path / "two.safetensors"])
    assert caught.value.where == str(tmp_path / "two.safetensors") and "one.safetensors" in caught.value.what
    with pytest.raises(UserError, match="at least one token file"):
        TokenFiles.open([])
    with pytest.raises(UserError, match="is a tokenizer file; expected tokens"):
        TokenFiles.open([tok])


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    made = tokenizer().to_json()
    room_for = (1 << 16) - len(made["pieces"])
    more = [chr(0x10000 + number) for number in range(room_for)]
    for extra, width in ((more, np.uint16), ([*more, "ÿ"], np.uint32)):
        path = tmp_path / f"tok{len(extra)}.safetensors"
        file.write(
            path,
            {},
            kind="tokenizer",
            config={},
            tokenizer={**made, "pieces": made["pieces"] + extra},
            provenance={},
            history={},
            determinism={},
        )
        corpus = put(tmp_path / "a.txt", f"a{extra[-1]}\n")
        output = tmp_path / f"t{len(extra)}.safetensors"
        tokens([corpus], output, tokenizer=path)
        found = TokenFiles.open([output])
        assert found.parts[0].dtype == width
        assert found.tokens(0, 2).tolist()[1] == len(made["pieces"]) + len(extra) - 1


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_corpus_without_text_is_an_error_and_leaves_nothing(tmp_path: Path, tok: Path, content: str) -> None:
    corpus = put(tmp_path / "a.txt", content)
    with pytest.raises(UserError, match="holds no text"):
        tokens([corpus], tmp_path / "t.safetensors", tokenizer=tok)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_fault_in_the_middle_leaves_nothing(tmp_path: Path, tok: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "BATCH", 100)
    corpus = tmp_path / "a.txt"
    corpus.write_bytes(text(60).encode() + b"\xff\n")
    for threads in (1, 2):
        with pytest.raises(UserError, match="is not UTF-8"):
            tokens([corpus], tmp_path / "t.safetensors", tokenizer=tok, threads=threads)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert tokens([corpus], tmp_path / "t.safetensors", tokenizer=tok, on_error="skip")["n_documents"] == 60


class Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_stdin_and_a_named_pipe_give_the_files_ids(tmp_path: Path, tok: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, pipe = put(tmp_path / "a.txt", text(5)), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(corpus.read_bytes()))
    writer.start()
    monkeypatch.setattr("sys.stdin", Stdin(corpus.read_bytes()))
    found = []
    for number, source in enumerate((corpus, pipe, Path("-"))):
        output = tmp_path / f"{number}.safetensors"
        tokens([source], output, tokenizer=tok)
        found.append(file.read(output))
    writer.join()
    assert [item.provenance["inputs"][0]["name"] for item in found] == ["a.txt", "-", "-"]
    assert len({item.provenance["inputs"][0]["sha256"] for item in found}) == 1
    assert len({json.dumps(item.metadata["tensors"]) for item in found}) == 1
    assert found[1].sha256 == found[2].sha256


def test_a_dry_run_touches_nothing(tmp_path: Path, tok: Path) -> None:
    corpus = put(tmp_path / "a.txt", text(3))
    plan = tokens([corpus], tmp_path / "t.safetensors", tokenizer=tok, dry_run=True)
    assert plan["bytes"] == corpus.stat().st_size and plan["vocab_size"] == tokenizer().vocab_size
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.fixture
def bpe(tmp_path: Path) -> Path:
    made = BPE(
        [*dict.fromkeys(DEFAULT_SPECIAL.values()), *BYTE_LETTERS, "he", "the"],
        DEFAULT_SPECIAL,
        [("h", "e"), ("t", "he")],
    )
    path = tmp_path / "bpe.safetensors"
    file.write(
        path, {}, kind="tokenizer", config={}, tokenizer=made.to_json(), provenance={}, history={}, determinism={}
    )
    return path


def test_compiled_code_writes_the_same_file(tmp_path: Path, bpe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of text of every form, in shards or whole, with faults or without, on any number of threads."""
    monkeypatch.setattr("nlpkit.data.readers.BLOCK", 300)
    monkeypatch.setattr(texts, "BATCH", 200)
    monkeypatch.setattr("nlpkit.data.corpus.PART", 150)
    odd = "\ufeffa\u2028b  \r\n\u3000\n\x0c\nthe  \x1f caf\u00e9 thé\x85the\n" + "the" * 300 + "\n\n\n\n"
    corpora = [
        put(tmp_path / "a.txt", text(60, seed=1)),
        put(tmp_path / "odd.txt", odd + text(20)),
        put(tmp_path / "no.txt", "\n"),
        put(tmp_path / "c.jsonl", "\n".join(json.dumps({"text": text(1, seed=seed)}) for seed in range(40))),
        put(tmp_path / "end.txt", "the end"),
    ]
    (tmp_path / "bad.txt").write_bytes(text(30).encode() + b"\xff\na\0b\n" + text(30).encode())
    corpora.append(tmp_path / "bad.txt")
    original = room.fast.Encoder
    made: list[int] = []
    monkeypatch.setattr(room.fast, "Encoder", lambda plan: made.append(1) or original(plan))

    def run(**options: Any) -> list[str]:
        found = [
            tokens(
                corpora, tmp_path / "t.safetensors", tokenizer=bpe, on_error="skip", force=True, shard=shard, **options
            )["sha256"]
            for shard in (None, "1/3", "2/3", "3/3")
        ]
        with pytest.raises(UserError, match="is not UTF-8") as caught:
            tokens(corpora, tmp_path / "u.safetensors", tokenizer=bpe, **options)
        return [*found, str(caught.value.where)]

    expected = run(threads=1)
    assert not made
    monkeypatch.setattr(room, "LOAD", 0)
    monkeypatch.setattr(room, "COMPILE", 0)
    for threads in (1, 2, 3, 7):
        assert run(threads=threads) == expected
    assert len(made) > 4


def test_compiled_code_is_loaded_for_a_large_corpus_only(
    tmp_path: Path, bpe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(room.fast, "usable", lambda *, compile: bool(asked.append(compile)))
    monkeypatch.setattr(room, "LOAD", 1000)
    monkeypatch.setattr(room, "COMPILE", 2000)
    for size, expected in ((999, []), (1000, [False]), (2000, [False, True])):
        tokens([put(tmp_path / "a.txt", "a" * size)], tmp_path / "t.safetensors", tokenizer=bpe, force=True)
        assert asked == expected


PROGRAM = """
import os, signal, sys
from pathlib import Path
from nlpkit.data import texts
from nlpkit.stages import tokens as room
texts.BATCH = 200
real = room._encode
def encode(batch, seen=[]):
    seen.append(batch)
    if len(seen) == 5:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    return real(batch)
room._encode = encode
room.tokens([Path("a.txt")], Path("t.safetensors"), tokenizer=Path(sys.argv[2]), threads=1)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_what_a_stopped_run_left_is_cleaned(tmp_path: Path, tok: Path, name: str) -> None:
    put(tmp_path / "a.txt", text(100))
    command: list[Any] = [sys.executable, "-c", PROGRAM, name, tok]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == -getattr(signal, name)
    left = {path.name for path in tmp_path.iterdir()}
    lock = {".t.safetensors.lock"} if name == "SIGKILL" else set()  # the next run removes it
    assert left == {"a.txt"} | lock  # the unfinished output has no name
    again = tokens([tmp_path / "a.txt"], tmp_path / "t.safetensors", tokenizer=tok)
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "t.safetensors"}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    put(fresh / "a.txt", text(100))
    assert again["sha256"] == tokens([fresh / "a.txt"], fresh / "t.safetensors", tokenizer=tok)["sha256"]
