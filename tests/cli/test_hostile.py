"""Bad input through the real command line: one clear error, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import forked
import making
import pytest
import toys

import nlpkit
from nlpkit.artifact import atomic, file, lock
from nlpkit.artifact.file import file_sha256
from nlpkit.cli.app import run
from nlpkit.training import loop


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
    (here / "edited.safetensors").write_bytes(good.replace(b"king", b"gnik", 1))
    kept = file.read(here / "bert.safetensors")
    file.write(
        here / "swapped.safetensors",
        {name: kept.array(name) for name in kept.tensors},
        kind="model",
        config=kept.config,
        tokenizer=making.tokenizer().to_json(),
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    nlpkit.tokens([here / "text.txt"], here / "own.safetensors", tokenizer=here / "bert.safetensors", threads=1)
    (here / "empty.safetensors").write_bytes(b"")
    (here / "empty.txt").write_bytes(b"")
    (here / "empty.jsonl").write_bytes(b"")
    (here / "blank.txt").write_text("\n \n\t\n")
    (here / "bytes.txt").write_bytes(b"good\nbad \xff\n")
    (here / "binary.txt").write_bytes(b"\x7fELF\0\0\1\2\n" * 9)
    (here / "bad.jsonl").write_text('{"text": "the king", "label": "comedy"}\n{"text": "the')
    (here / "column.jsonl").write_text('{"txt": "the king", "label": "comedy"}\n')
    toys.texts(here / "one.jsonl", 1)
    toys.texts(here / "dev.jsonl", 3, classes=("comedy",))
    with open(here / "dev.jsonl", "a") as dev:
        dev.write('{"text": "the king", "label": "farce"}\n')
    return here


CASES = [
    ("tokenizer train empty.txt -o o", "empty.txt"),
    ("tokenizer train blank.txt -o o", "blank.txt"),
    ("tokenizer train bytes.txt -o o", "bytes.txt:2"),
    ("tokenizer train binary.txt -o o", "binary.txt: is a program"),
    ("tokenizer train nowhere.txt -o o", "nowhere.txt"),
    ("tokens bytes.txt --tokenizer tok.safetensors -o o", "bytes.txt:2"),
    ("tokens empty.txt --tokenizer tok.safetensors -o o", "empty.txt"),
    ("tokens text.txt --tokenizer pickle.safetensors -o o", "pickle.safetensors"),
    ("tokens text.txt --tokenizer tokens.safetensors -o text.txt", "text.txt"),
    ("vectors train empty.txt -o o", "error"),
    ("vectors train binary.txt -o o", "binary.txt: is a program"),
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
    ("distill bert.safetensors own.safetensors -o o --dev tokens.safetensors", "tokens.safetensors: was made with"),
    ("pretrain own.safetensors -o o --dev tokens.safetensors", "tokens.safetensors: was made with another tokenizer"),
    ("pretrain own.safetensors -o o --init swapped.safetensors", "swapped.safetensors: tokenizer has"),
    ("evaluate bert.safetensors tokens.safetensors", "tokens.safetensors: was made with another tokenizer"),
    ("evaluate swapped.safetensors own.safetensors", "swapped.safetensors: tokenizer has"),
    ("predict edited.safetensors text.txt", "edited.safetensors"),
    ("finetune bert.safetensors one.jsonl -o o", "one.jsonl: has one label"),
    ("predict empty.safetensors text.txt", "empty.safetensors"),
    ("predict bert.safetensors text.txt", "bert.safetensors"),
    ("info text.txt", "text.txt"),
    ("tokenizer encode tok.safetensors bytes.txt", "bytes.txt:2"),
    ("tokenizer train text.txt -o /proc/nowhere/o", "/proc/nowhere"),
    ("tokenizer train text.txt -o text.txt/o", "text.txt/o"),
    ("tokenizer train text.txt -o .", "."),
    ("tokenizer train text.txt -o " + "n" * 245, "too long"),
]


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


# A file of the process that grows beyond the limit meets what the system says of a full disk.
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


def nlp(*words: str, **more: object) -> subprocess.Popen[bytes]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True, **more}
    return subprocess.Popen([sys.executable, "-m", "nlpkit", *words], **given)  # type: ignore[call-overload]


def test_a_full_disk_is_said_with_its_file(inputs: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_text("the king of france\n" * 40_000)
    words = ["tokens", str(big), "--tokenizer", str(inputs / "tok.safetensors"), "-o", "o"]
    done = forked.run(*words, cwd=tmp_path, first=LIMITED.format(50_000))
    assert done.returncode == 1 and done.stderr.startswith("error: o: cannot write: File too large")
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


def pretrain(inputs: Path, target: Path, steps: int) -> list[str]:
    return [
        "pretrain",
        str(inputs / "tokens.safetensors"),
        *(
            "--n-layers 1 --d-model 32 --n-heads 2 --max-len 32 --batch-tokens 256 --threads 1 --save-every 5 --steps"
        ).split(),
        str(steps),
        "-o",
        str(target),
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_run_says_so_and_ends_in_the_same_bytes(inputs: Path, tmp_path: Path, number: int) -> None:
    target, state = tmp_path / "m", tmp_path / "m.resume"
    words = pretrain(inputs, target, 100)
    program = forked.Program(*words)
    while not state.exists():
        time.sleep(0.02)
    os.killpg(program.pid, number)
    assert program.wait() == 130
    said = program.said()[1]
    assert "interrupted at step" in said and "Traceback" not in said
    assert sorted(os.listdir(tmp_path)) == ["m.resume"]
    process = nlp(*words)
    time.sleep(0.2)
    os.killpg(process.pid, number)  # while it imports, or later
    said = process.communicate()[1].decode()
    assert process.returncode in (130, -number) and "Error" not in said
    assert process.returncode == -number or said.startswith("error: interrupted")
    assert run(words) == run(pretrain(inputs, tmp_path / "whole", 100)) == 0
    assert file_sha256(target) == file_sha256(tmp_path / "whole") and not state.exists()


def spools(pid: int) -> bool:
    """Whether a process writes to a file without a name."""
    open_files = Path(f"/proc/{pid}/fd")
    with suppress(OSError):  # one was closed meanwhile
        return any(os.readlink(file).endswith("(deleted)") for file in open_files.iterdir())
    return False


def test_an_interrupt_reaches_the_workers_too(inputs: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_text("the king of france goes out at night\n" * 1_800_000)
    process = nlp(
        "tokens", str(big), "--tokenizer", str(inputs / "tok.safetensors"), "-o", "o", "--threads", "2", cwd=tmp_path
    )
    while process.poll() is None and not spools(process.pid):
        time.sleep(0.02)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[1].decode()
    said = re.sub(r"^compiling kernels.*\n", "", said)  # only where they are not cached yet
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
        words = "vectors train text.txt -o o --dim 4 --min-count 1 --threads 1".split()
        done = forked.run(*words, cwd=tmp_path, first=LIMITED.format(limit))
        assert done.returncode == 1 and done.stderr.startswith("error: o: cannot write: File too large"), done.stderr
        assert os.listdir(tmp_path) == ["text.txt"]


def test_a_second_interrupt_ends_a_run_at_once_and_it_goes_on_all_the_same(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    update, steps, finished = loop.update, [], []

    def impatient(*args: object) -> float:
        steps.append(0)
        if len(steps) == 12:
            signal.raise_signal(signal.SIGINT)
            finished.append(float(update(*args)))  # type: ignore[arg-type] - the first lets the step end
            signal.raise_signal(signal.SIGINT)
            finished.append(0)
        return float(update(*args))  # type: ignore[arg-type]

    words = pretrain(inputs, tmp_path / "m", 20)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "update", impatient)
        assert run(words) == 130
    assert "error: interrupted" in capsys.readouterr().err and len(finished) == 1
    assert os.listdir(tmp_path) == ["m.resume"]
    assert run(words) == run(pretrain(inputs, tmp_path / "whole", 20)) == 0
    assert "resuming m at step 10" in capsys.readouterr().err
    assert file_sha256(tmp_path / "m") == file_sha256(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_of_a_tokenizer(tmp_path: Path, number: int) -> None:
    process = nlp("tokenizer", "train", "-", "-o", "o", cwd=tmp_path, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"the king of france\n" * 50_000)  # more than a pipe holds: when it is written it is being read
    process.stdin.flush()
    os.killpg(process.pid, number)
    assert process.communicate()[1].decode() == "error: interrupted\n"
    assert process.returncode == 130 and os.listdir(tmp_path) == []


def test_two_runs_do_not_write_one_file(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "o"
    text, tokenizer = str(inputs / "text.txt"), str(inputs / "tok.safetensors")
    for words in (["tokens", text, "--tokenizer", tokenizer, "-o", str(target)], pretrain(inputs, target, 0)):
        with lock.only_run(target), atomic.writing(target) as first:
            first.write(b"the first's")
            assert run(words) == 1
        assert f"error: {target}: is being written by another run" in capsys.readouterr().err
        assert target.read_bytes() == b"the first's" and os.listdir(tmp_path) == ["o"]
        target.unlink()
        assert run(words) == 0
        target.unlink()


def test_a_line_of_ten_megabytes_is_text(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(inputs)
    long, target = str(tmp_path / "long.txt"), str(tmp_path / "o")
    Path(long).write_text("the king of france " * 550_000 + "\nthe king\n")
    assert run(["tokens", long, "--tokenizer", "bert.safetensors", "--threads", "1", "-o", target]) == 0
    assert file.read(Path(target)).config["n_tokens"] == 4 * 550_000 + 2
    assert run(["tokenizer", "train", long, "-o", target, "--force", "--kind", "bpe", "--vocab-size", "290"]) == 0
    capsys.readouterr()
    assert run(["predict", "clf.safetensors", long, "--threads", "1"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2 and "1 of 2 texts is longer than 24 tokens and was cut" in said.err


def test_files_of_one_line_are_enough_or_say_why_not(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As corpus, held-out text, held-out examples, and text to measure; of training examples it takes two labels."""
    monkeypatch.chdir(inputs)
    one, tokens = tmp_path / "one.txt", tmp_path / "tokens.safetensors"
    one.write_text("the king of france")
    for number, line in enumerate(
        (
            f"tokenizer train {one} --kind word --min-count 1",
            f"vectors train {one} --min-count 1 --dim 4 --threads 1",
            f"tokens {one} --tokenizer bert.safetensors",
            f"pretrain {tokens} --init bert.safetensors --threads 1",
            f"pretrain own.safetensors --init bert.safetensors --steps 1 --dev {tokens} --threads 1",
            "finetune bert.safetensors train.jsonl --dev one.jsonl --steps 1 --threads 1",
            "distill clf.safetensors one.jsonl --dev one.jsonl --steps 1 --threads 1",
            f"evaluate bert.safetensors {one}",
            "evaluate clf.safetensors one.jsonl",
        )
    ):
        target = tokens if line.startswith("tokens") else tmp_path / str(number)
        assert run([*line.split(), "-o", str(target)]) == 0, line
        assert target.stat().st_size > 100


def test_a_reader_of_predictions_that_has_enough_is_no_error(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("the king of france goes out at night\n" * 20_000)
    reading, writing = os.pipe()
    words = ["predict", str(inputs / "clf.safetensors"), "many.txt", "--threads", "1"]
    program = forked.Program(*words, cwd=tmp_path, stdout=writing)
    os.close(writing)
    with open(reading, "rb") as answers:
        assert answers.readline().startswith(b'{"label": ')
    assert program.wait() == 0 and program.said()[1] == ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a disk of 64 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting a disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_run_that_filled_the_disk_goes_on_when_there_is_space(
    inputs: Path, tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "big.txt").write_text("the king of france\n" * 40_000)
    tokens = ["tokens", str(tmp_path / "big.txt"), "--tokenizer", str(inputs / "tok.safetensors"), "--threads", "1"]
    lines = ([*tokens, "-o", "t"], pretrain(inputs, Path("n"), 0), pretrain(inputs, Path("m"), 8))
    for *words, name in lines:
        assert run([*words, str(small_disk / name)]) == 1
        assert f"error: {small_disk / name}" in (said := capsys.readouterr().err) and "No space left on device" in said
        assert os.listdir(small_disk) == []
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    for *words, name in lines:
        assert run([*words, str(small_disk / name)]) == run([*words, str(tmp_path / name)]) == 0
        assert file_sha256(small_disk / name) == file_sha256(tmp_path / name)
