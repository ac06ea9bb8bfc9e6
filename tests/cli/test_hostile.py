"""Bad input through the real command line: one clear error, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

import os
import pickle
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import making
import pytest
import toys

import nlpkit
from nlpkit.artifact.file import file_sha256
from nlpkit.cli.app import run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("hostile")
    making.token_file(here / "tokens.safetensors")
    toys.model(here / "bert.safetensors")
    toys.texts(here / "train.jsonl", 60)
    nlpkit.finetune(here / "bert.safetensors", here / "train.jsonl", here / "clf.safetensors", steps=1, threads=1)
    (here / "text.txt").write_text("the king of france goes out at night\n" * 50)
    nlpkit.tokenizer_train([here / "text.txt"], here / "tok.safetensors", kind="word", min_count=1)
    good = (here / "clf.safetensors").read_bytes()
    (here / "cut.safetensors").write_bytes(good[:-100])
    (here / "head.safetensors").write_bytes(good[:50] + bytes([good[50] ^ 1]) + good[51:])
    (here / "data.safetensors").write_bytes(good[:-50] + bytes([good[-50] ^ 1]) + good[-49:])
    (here / "pickle.safetensors").write_bytes(pickle.dumps({"weights": [1.0] * 99}))
    (here / "empty.safetensors").write_bytes(b"")
    (here / "empty.txt").write_bytes(b"")
    (here / "empty.jsonl").write_bytes(b"")
    (here / "blank.txt").write_text("\n \n\t\n")
    (here / "bytes.txt").write_bytes(b"good\nbad \xff\n")
    (here / "binary.txt").write_bytes(b"\x7fELF\0\0\1\2\n" * 9)
    (here / "bad.jsonl").write_text('{"text": "the king", "label": "comedy"}\n{"text": "the')
    (here / "column.jsonl").write_text('{"txt": "the king", "label": "comedy"}\n')
    toys.texts(here / "dev.jsonl", 3, classes=("comedy",))
    with open(here / "dev.jsonl", "a") as dev:
        dev.write('{"text": "the king", "label": "farce"}\n')
    return here


CASES = [
    ("tokenizer train empty.txt -o o", "empty.txt"),
    ("tokenizer train blank.txt -o o", "blank.txt"),
    ("tokenizer train bytes.txt -o o", "bytes.txt:2"),
    ("tokenizer train binary.txt -o o", "binary.txt:1"),
    ("tokenizer train nowhere.txt -o o", "nowhere.txt"),
    ("tokens bytes.txt --tokenizer tok.safetensors -o o", "bytes.txt:2"),
    ("tokens empty.txt --tokenizer tok.safetensors -o o", "empty.txt"),
    ("tokens text.txt --tokenizer pickle.safetensors -o o", "pickle.safetensors"),
    ("tokens text.txt --tokenizer tokens.safetensors -o text.txt", "text.txt"),
    ("vectors train empty.txt -o o", "error"),
    ("vectors train binary.txt -o o", "binary.txt:1"),
    ("pretrain clf.safetensors -o o", "clf.safetensors"),
    ("pretrain tokens.safetensors -o o --init bert.safetensors", "bert.safetensors"),
    ("finetune bert.safetensors empty.jsonl -o o", "empty.jsonl"),
    ("finetune bert.safetensors bad.jsonl -o o", "bad.jsonl:2"),
    ("finetune bert.safetensors column.jsonl -o o", "column.jsonl:1"),
    ("finetune bert.safetensors train.jsonl -o o --dev dev.jsonl", "dev.jsonl:4"),
    ("finetune cut.safetensors train.jsonl -o o", "cut.safetensors"),
    ("finetune head.safetensors train.jsonl -o o", "head.safetensors"),
    ("finetune data.safetensors train.jsonl -o o", "data.safetensors"),
    ("finetune pickle.safetensors train.jsonl -o o", "pickle.safetensors"),
    ("distill bert.safetensors tokens.safetensors -o o", "tokens.safetensors"),
    ("distill clf.safetensors tokens.safetensors -o o", "tokens.safetensors"),
    ("predict empty.safetensors text.txt", "empty.safetensors"),
    ("predict bert.safetensors text.txt", "bert.safetensors"),
    ("info text.txt", "text.txt"),
    ("tokenizer encode tok.safetensors bytes.txt", "bytes.txt:2"),
    ("tokenizer train text.txt -o /proc/nowhere/o", "/proc/nowhere"),
    ("tokenizer train text.txt -o text.txt/o", "text.txt/o"),
    ("tokenizer train text.txt -o .", "."),
    ("tokenizer train text.txt -o " + "n" * 245, "too long"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says"), CASES)
def test_bad_input_is_one_clear_error(
    inputs: Path, line: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(inputs)
    before = {path: path.read_bytes() for path in inputs.iterdir()}
    assert run(shlex.split(line)) == 2
    said = capsys.readouterr().err
    assert "error: " in said and says in said and "Traceback" not in said and len(said.splitlines()) <= 4
    assert {path: path.read_bytes() for path in inputs.iterdir()} == before


def nlp(*words: str, limit: int | None = None, **more: object) -> subprocess.Popen[bytes]:
    def limited() -> None:
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True, **more}
    return subprocess.Popen([sys.executable, "-m", "nlpkit", *words], preexec_fn=limited, **given)  # type: ignore


def test_a_full_disk_is_said_with_its_file(inputs: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_text("the king of france\n" * 40_000)
    process = nlp("tokens", str(big), "--tokenizer", str(inputs / "tok.safetensors"), "-o", "o", limit=50_000,
                  cwd=tmp_path)  # fmt: skip
    said = process.communicate()[1].decode()
    assert process.returncode == 1 and said.startswith("error: o: cannot write: File too large")
    assert os.listdir(tmp_path) == ["big.txt"]


def test_a_reader_that_has_enough_is_no_error(inputs: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.txt"
    many.write_text("the king of france goes out at night\n" * 20_000)
    process = nlp("tokenizer", "encode", str(inputs / "tok.safetensors"), str(many))
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0 and process.stderr.read() == b""


def test_streams_that_are_closed_end_no_run(inputs: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m nlpkit tokenizer train {inputs / 'text.txt'} --kind word --min-count 1"
    for number, closing in enumerate(("2>&-", ">&-", "<&- >&- 2>&-", "2>/dev/full")):
        target = tmp_path / f"{number}.safetensors"
        assert subprocess.run(f"{command} -o {target} {closing}", shell=True, capture_output=True).returncode == 0
        assert file_sha256(target) == file_sha256(tmp_path / "0.safetensors")
    done = subprocess.run(f"{command} -o {tmp_path / 'x'} --json > /dev/full", shell=True, capture_output=True)
    assert done.returncode == 1 and done.stderr.count(b"error: ") == 1 and b"Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_goes_on(inputs: Path, tmp_path: Path, number: int) -> None:
    words = ["pretrain", str(inputs / "tokens.safetensors"), "--n-layers", "1", "--d-model", "32", "--n-heads", "2",
             "--max-len", "32", "--batch-tokens", "256", "--threads", "1", "--save-every", "5"]  # fmt: skip
    target, state = tmp_path / "m", tmp_path / "m.resume"
    process = nlp(*words, "--steps", "5000", "-o", str(target))
    while not state.exists():
        time.sleep(0.02)
    os.killpg(process.pid, number)
    said = process.communicate()[1].decode()
    assert process.returncode == 130 and "interrupted at step" in said and "Traceback" not in said
    assert sorted(os.listdir(tmp_path)) == ["m.resume"]
    process = nlp(*words, "--steps", "5000", "-o", str(target))
    time.sleep(0.2)
    os.killpg(process.pid, number)  # while it imports, or later
    said = process.communicate()[1].decode()
    assert process.returncode in (130, -number) and "Error" not in said


def test_an_interrupt_reaches_the_workers_too(inputs: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_text("the king of france goes out at night\n" * 600_000)
    process = nlp("tokens", str(big), "--tokenizer", str(inputs / "tok.safetensors"), "-o", "o", "--threads", "2",
                  cwd=tmp_path)  # fmt: skip
    while not (tmp_path / ".o.spool").exists():
        time.sleep(0.02)
    time.sleep(0.6)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[1].decode()
    assert process.returncode == 130 and said == "error: interrupted\n"
    assert os.listdir(tmp_path) == ["big.txt"]
    for _ in range(500):  # multiprocessing's own helper process ends when it sees that its parent has
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("a worker outlived its parent")


def test_a_full_disk_beside_word_vectors_is_said_with_their_file(tmp_path: Path) -> None:
    """While words are counted, and while they are numbered anew: what is on disk then has no name of its own."""
    (tmp_path / "text.txt").write_text("king\nsword\n" * 20_000)
    for limit in (50_000, 8 * 40_000):  # the second lets a number be written for each line, and not one more
        process = nlp("vectors", "train", "text.txt", "-o", "o", "--dim", "4", "--min-count", "1", "--threads", "1",
                      limit=limit, cwd=tmp_path)  # fmt: skip
        said = process.communicate()[1].decode()
        assert process.returncode == 1 and said.startswith("error: o: cannot write: File too large"), said
        assert os.listdir(tmp_path) == ["text.txt"]
