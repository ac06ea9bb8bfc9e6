"""verify, lineage, diff, info --check: a file proves itself, and what does not hold is named."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import nlpkit
from nlpkit.artifact import exported, file, promise, safetensors
from nlpkit.artifact.diff import compare, diff, first_difference, largest
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.stages.info import info, lineage
from nlpkit.stages.verify import verify

TINY: dict[str, Any] = {"n_layers": 1, "d_model": 32, "n_heads": 2, "d_ff": 32}
STEPS: dict[str, Any] = {"steps": 2, "batch_tokens": 64}


class Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every stage's file, made once; tests copy it."""
    folder = tmp_path_factory.mktemp("chain")
    rng = np.random.default_rng(0)
    texts = ["\n".join(toys.sentence(rng, key=key) for _ in range(3)) for key in (*toys.KEYS.values(), None) * 8]
    (folder / "corpus.txt").write_text("\n\n".join(texts) + "\n")
    (folder / "more.txt").write_text(texts[0] + "\n")
    toys.texts(folder / "train.jsonl", 20)
    toys.texts(folder / "dev.jsonl", 12, seed=1)

    def path(name: str) -> Path:
        return folder / f"{name}.safetensors"

    corpus = [folder / "corpus.txt", folder / "more.txt"]
    nlpkit.tokenizer_train(corpus, path("tok"), kind="wordpiece", vocab_size=80)
    nlpkit.tokens(corpus, path("tokens"), tokenizer=path("tok"), threads=1)
    nlpkit.pretrain([path("tokens")], path("bert"), model="bert", size="tiny", max_len=24, dropout=0.1, **TINY, **STEPS)
    nlpkit.finetune(path("bert"), folder / "train.jsonl", path("clf"), dev=folder / "dev.jsonl", **STEPS)
    nlpkit.distill(path("clf"), folder / "train.jsonl", path("student"), n_layers=1, **STEPS)
    nlpkit.vectors_train(corpus, path("vec"), dim=8, min_count=1, epochs=1, threads=1)
    nlpkit.export(path("clf"), folder / "clf-hf")
    nlpkit.import_(folder / "clf-hf", path("back"))
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the chain in a folder of its own, which is the current one; temporary files go to another."""
    folder, temporary = tmp_path / "work", tmp_path / "tmp"
    shutil.copytree(made, folder)
    temporary.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    return folder


def left_over(work: Path) -> list[str]:
    return sorted(item.name for item in (work.parent / "tmp").iterdir())


def forge(path: Path, change: Callable[[dict[str, Any]], None], **tensors: np.ndarray) -> None:
    """Change a file's metadata (or tensors) and make its checksums agree again, as somebody who cheats would."""
    artifact = file.read(path)
    metadata = json.loads(json.dumps(artifact.metadata))
    change(metadata)
    kept = {name: np.array(artifact.array(name)) for name in artifact.tensors} | tensors
    file.write(
        path, kept, **{name: value for name, value in metadata.items() if name not in ("format", "tensors", "digest")}
    )


STAGES = {
    "tok": "tokenizer train",
    "tokens": "tokens",
    "bert": "pretrain",
    "clf": "finetune",
    "student": "distill",
    "vec": "vectors train",
    "back": "import",
}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_proves_itself(work: Path, name: str) -> None:
    before = {item.name: item.stat().st_mtime_ns for item in work.iterdir()}
    result = verify(Path(f"{name}.safetensors"))
    assert (result["proven"], result["difference"]) == (True, None)
    assert [(stage["command"], stage["equal"]) for stage in result["stages"]] == [(STAGES[name], True)]
    assert result["stages"][0]["sha256"] == file.file_sha256(work / f"{name}.safetensors")
    assert {item.name: item.stat().st_mtime_ns for item in work.iterdir()} == before
    assert left_over(work) == []


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("student", ["tokenizer train", "tokens", "pretrain", "finetune", "distill"]),
        ("back", ["tokenizer train", "tokens", "pretrain", "finetune", "export", "import"]),
        ("vec", ["vectors train"]),
    ],
)
def test_a_whole_chain_is_proven_from_the_raw_files(work: Path, name: str, stages: list[str]) -> None:
    for path in work.glob("*"):
        if path.name not in (f"{name}.safetensors", "corpus.txt", "more.txt", "train.jsonl", "dev.jsonl"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = verify(Path(f"{name}.safetensors"), chain=True, threads=1)
    assert result["proven"], result
    assert [stage["command"] for stage in result["stages"]] == stages
    assert all(stage["equal"] for stage in result["stages"])
    assert left_over(work) == []


def run(*arguments: object) -> int:
    return app.run([str(item) for item in arguments])


def test_exit_codes_and_words_of_the_command(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "tokens.safetensors", "--chain") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in out[:2]] == ["tok.safetensors", "tokens.safetensors"]
    assert out[-1] == "tokens.safetensors: proven, 2 stages run again"
    (work / "corpus.txt").write_bytes((work / "corpus.txt").read_bytes().replace(b"king", b"kong", 1))
    assert run("verify", "tokens.safetensors") == 3
    error = capsys.readouterr().err
    assert "not proven: input corpus.txt has other bytes now" in error
    assert run("verify", "tokens.safetensors", "--json") == 3
    assert json.loads(capsys.readouterr().out)["proven"] is False
    (work / "corpus.txt").unlink()
    assert run("verify", "tokens.safetensors") == 2
    error = capsys.readouterr().err
    assert "input corpus.txt (sha256 " in error and "hint: --inputs DIR looks in a folder and below it" in error
    assert left_over(work) == []


def test_a_forged_option_is_named_by_what_it_changes(work: Path) -> None:
    forge(work / "tok.safetensors", lambda meta: meta["provenance"]["options"].update(vocab_size=60))
    result = verify(Path("tok.safetensors"))
    assert not result["proven"] and result["difference"] == "config.vocab_size was 80, is 60"
    forge(work / "bert.safetensors", lambda meta: meta["provenance"]["options"].update(seed=1))
    assert verify(Path("bert.safetensors"))["difference"] == "seed was 0, is 1"  # it stands in two places
    forge(work / "bert.safetensors", lambda meta: meta["provenance"].update(seed=1))
    assert verify(Path("bert.safetensors"))["difference"].startswith('tensor "')
    forge(work / "vec.safetensors", lambda meta: meta["provenance"]["options"].update(wings=2))
    assert verify(Path("vec.safetensors"))["difference"] == (
        "vectors train records the option wings, which this nlpkit's vectors train does not have"
    )
    assert left_over(work) == []


def test_a_changed_number_is_named(work: Path) -> None:
    name = "heads.classify.weight"
    values = np.array(file.read(work / "clf.safetensors").array(name))
    values[1, 3] += 0.5
    forge(work / "clf.safetensors", lambda meta: None, **{name: values})
    difference = verify(Path("clf.safetensors"))["difference"]
    assert difference.startswith(f'tensor "{name}" differs in 1 of {values.size} numbers, by at most 0.')
    assert difference.endswith("at [1, 3]")


def test_another_version_is_named_and_so_is_that_nothing_else_differs(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = promise._version
    monkeypatch.setattr(promise, "_version", lambda name: "0.0.1" if name == "torch" else real(name))
    said: list[str] = []
    with events.listen(lambda record: said.append(record.get("text", ""))):
        result = verify(Path("clf.safetensors"))
    version = real("torch")
    assert result["difference"] == f"versions.torch was {version}, is 0.0.1; every tensor is the same"
    assert f"clf.safetensors: torch was {version}, is 0.0.1" in said
    chained = verify(Path("clf.safetensors"), chain=True)["difference"]
    assert "pretrain made bert.safetensors with other bytes" in chained and f"torch was {version}" in chained


def test_a_library_that_is_gone_is_said(work: Path) -> None:
    forge(work / "tok.safetensors", lambda meta: meta["provenance"]["versions"].update(abacus="2"))
    said: list[str] = []
    with events.listen(lambda record: said.append(record.get("text", ""))):
        result = verify(Path("tok.safetensors"))
    assert result["difference"].startswith("versions.abacus was 2, is absent")
    assert "tok.safetensors: abacus was 2, is not installed" in said


def test_a_stage_that_nobody_knows_is_an_error(work: Path) -> None:
    forge(work / "tok.safetensors", lambda meta: meta["provenance"].update(command="tokeniser train"))
    with pytest.raises(UserError, match='stage "tokeniser train" is unknown; did you mean "tokenizer train"'):
        verify(Path("tok.safetensors"))


def test_inputs_that_were_moved_are_found(work: Path) -> None:
    away = work.parent / "away" / "deep"
    away.mkdir(parents=True)
    for name in ("corpus.txt", "more.txt", "tok.safetensors"):
        (work / name).rename(away / name)
    with pytest.raises(UserError) as caught:
        verify(Path("tokens.safetensors"))
    assert caught.value.exit_code == 2 and str(work) in caught.value.what
    assert verify(Path("tokens.safetensors"), inputs=work.parent / "away")["proven"]
    assert verify(Path("tokens.safetensors"), inputs=away, chain=True)["proven"]


def test_inputs_below_the_current_folder_are_found_and_all_that_are_missing_are_named(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, out = work / "data" / "raw", work / "out"
    raw.mkdir(parents=True)
    out.mkdir()
    for name in ("corpus.txt", "more.txt"):
        (work / name).rename(raw / name)
    (work / "tokens.safetensors").rename(out / "tokens.safetensors")
    (work / "data" / "corpus.txt").write_text("another project's\n")  # no input, and no difference
    assert verify(Path("out/tokens.safetensors"), chain=True, threads=1)["proven"]
    monkeypatch.setattr("nlpkit.stages.verify.DEPTH", 1)
    with pytest.raises(UserError, match=r"inputs .*\.txt \(sha256 \w+\), .*\.txt \(sha256 \w+\) are not in") as caught:
        verify(Path("out/tokens.safetensors"), chain=True)
    assert "corpus.txt" in caught.value.what and "more.txt" in caught.value.what
    assert caught.value.what.endswith("nor 1 levels below the current folder")
    monkeypatch.setattr("nlpkit.stages.verify.DEPTH", 3)
    (work / "data").rename(work / ".data")
    with pytest.raises(UserError, match="are not in"):
        verify(Path("out/tokens.safetensors"), chain=True)


def test_inputs_that_were_renamed_are_found_by_their_bytes(work: Path) -> None:
    (work / "corpus.txt").rename(work / "old-corpus.bak")
    (work / "more.txt").rename(work / "corpus.txt")  # the name of another, with other bytes
    (work / "tok.safetensors").rename(work / "t.safetensors")
    assert verify(Path("tokens.safetensors"))["proven"]
    (work / "clf-hf").rename(work / "renamed-hf")
    assert verify(Path("back.safetensors"))["proven"]
    (work / "clf-hf").symlink_to(work / "renamed-hf")
    assert verify(Path("back.safetensors"))["proven"]


def test_what_cannot_be_read_is_passed_over(work: Path) -> None:
    (work / "a-link").symlink_to(work / "nowhere")
    (work / "corpus.txt").rename(work / "z.txt")
    (work / "corpus.txt").symlink_to(work / "nowhere")
    os.mkfifo(work / "b-pipe")
    (work / "more.txt").rename(work / "y.txt")
    os.mkfifo(work / "more.txt")
    (work / "secret").write_bytes(b"x")
    (work / "secret").chmod(0)
    assert verify(Path("tokens.safetensors"))["proven"]


def test_two_inputs_may_have_one_name_and_two_names_the_same_bytes(work: Path) -> None:
    away = work.parent / "away"
    for folder, text in (("x", "one two one two\n"), ("y", "three four three\n")):
        (away / folder).mkdir(parents=True)
        (away / folder / "text.txt").write_text(text)
    (away / "x" / "twin.txt").write_text("one two one two\n")
    inputs = [away / "x" / "text.txt", away / "y" / "text.txt", away / "x" / "twin.txt"]
    nlpkit.tokens(inputs, Path("t.safetensors"), tokenizer=Path("tok.safetensors"), threads=1)
    with pytest.raises(UserError, match=r"inputs text\.txt"):
        verify(Path("t.safetensors"))
    assert verify(Path("t.safetensors"), inputs=away)["proven"]
    (away / "x" / "text.txt").unlink()  # its twin has its bytes
    assert verify(Path("t.safetensors"), inputs=away)["proven"]
    (away / "y" / "text.txt").write_text("three four\n")
    assert "text.txt has other bytes now" in verify(Path("t.safetensors"), inputs=away)["difference"]


def test_stdin_is_proven_from_a_file_of_its_bytes(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (work / "corpus.txt").read_bytes()
    monkeypatch.setattr("sys.stdin", Stdin(content))
    nlpkit.tokens([Path("-")], Path("t.safetensors"), tokenizer=Path("tok.safetensors"))
    recorded = file.read(Path("t.safetensors")).provenance["inputs"]
    assert [item["name"] for item in recorded] == ["-", "tok.safetensors"]
    result = verify(Path("t.safetensors"))
    assert result["proven"], result
    (work / "corpus.txt").unlink()
    with pytest.raises(UserError, match=r"input - \(sha256"):
        verify(Path("t.safetensors"))


def test_a_hugging_face_directory_is_an_input(work: Path) -> None:
    nlpkit.finetune(Path("clf-hf"), Path("train.jsonl"), Path("again.safetensors"), **STEPS)
    assert verify(Path("again.safetensors"))["proven"]
    result = verify(Path("again.safetensors"), chain=True)
    assert [stage["command"] for stage in result["stages"]][-2:] == ["export", "finetune"] and result["proven"]
    (work / "clf-hf" / "README.md").write_text("new")
    assert "input clf-hf has other bytes now" in verify(Path("again.safetensors"))["difference"]


def test_a_damaged_file_proves_nothing(work: Path) -> None:
    content = bytearray((work / "tokens.safetensors").read_bytes())
    content[-1] ^= 1
    (work / "tokens.safetensors").write_bytes(content)
    for check in (lambda: verify(Path("tokens.safetensors")), lambda: info(Path("tokens.safetensors"), check=True)):
        with pytest.raises(UserError, match="does not have the bytes it was written with"):
            check()
    assert info(Path("tokens.safetensors"))["kind"] == "tokens"
    assert run("info", "tokens.safetensors", "--check") == 2 and run("info", "tok.safetensors", "--check") == 0
    assert left_over(work) == []


PROGRAM = """
import os, signal, sys
from nlpkit.base import events
from nlpkit.cli import app
def listener(record):
    if record.get("text", "").startswith("pretrain: making"):
        assert os.listdir(os.environ["TMPDIR"])
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
events._listeners.append(listener)
sys.exit(app.run(["verify", "bert.safetensors", "--chain"]))
"""


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_an_interrupt_leaves_no_temporary_folder(work: Path, name: str) -> None:
    temporary = work.parent / "tmp"
    before = sorted(item.name for item in work.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name],
        cwd=work,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert done.returncode == 130 and "interrupted" in done.stderr and "Traceback" not in done.stderr
    assert list(temporary.iterdir()) == []
    assert sorted(item.name for item in work.iterdir()) == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Lineage.


def commands(node: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{given['role']} {given['name']}": commands(given) if "command" in given else None for given in node["inputs"]
    }


def test_lineage_is_the_tree_of_stages(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = {"corpus corpus.txt": None, "corpus more.txt": None}
    tokens = {**raw, "tokenizer tok.safetensors": raw}
    clf = {
        "model bert.safetensors": {"tokens tokens.safetensors": tokens},
        "train train.jsonl": None,
        "dev dev.jsonl": None,
    }
    tree = lineage(Path("student.safetensors"))
    assert tree["command"] == "distill" and commands(tree) == {"teacher clf.safetensors": clf, "data train.jsonl": None}
    assert tree["inputs"][0]["options"]["steps"] == 2
    assert commands(lineage(Path("back.safetensors"))) == {"source clf-hf": {"model clf.safetensors": clf}}
    assert run("lineage", "student.safetensors", "--json") == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == tree["inputs"]
    assert run("lineage", "tokens.safetensors") == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].rstrip() for line in shown] == [
        "tokens.safetensors",
        "├─ corpus.txt",
        "├─ more.txt",
        "└─ tok.safetensors",
        "",
        "",
    ]
    assert shown[0].split("  <- ")[1].startswith("nlpkit tokens (") and "   ├─ corpus.txt" in shown[4]
    assert str(work) not in "\n".join(shown)


def test_weights_changed_by_another_tool_are_noticed_and_said(work: Path) -> None:
    assert len(exported.history(work / "clf-hf", "f" * 64)) == 5
    path = work / "clf-hf" / "model.safetensors"
    reader = safetensors.read(path)
    metadata, tensors = reader.metadata, {name: np.array(reader.array(name)) for name in reader.tensors}
    next(iter(tensors.values())).flat[0] += 1
    with open(path, "wb") as target:
        safetensors.write(target, tensors, metadata)
    said: list[str] = []
    with events.listen(lambda record: said.append(record.get("text", ""))):
        nlpkit.import_(Path("clf-hf"), Path("other.safetensors"))
    assert any("its weights were changed after nlpkit exported them" in text for text in said)
    assert commands(lineage(Path("other.safetensors"))) == {"source clf-hf": None}


# Differences.


def write(
    path: Path, config: dict[str, Any] | None = None, options: dict[str, Any] | None = None, **tensors: Any
) -> Path:
    arrays = {name: np.asarray(value) for name, value in tensors.items()}
    file.write(
        path,
        arrays,
        kind="model",
        config=config or {},
        history={},
        determinism={},
        provenance={"command": "test", "options": options or {}, "inputs": []},
    )
    return path


def test_equal_files_are_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = write(tmp_path / "a", w=[1.0, np.nan]), write(tmp_path / "b", w=[1.0, np.nan])
    assert diff(one, two) == {
        "equal": True,
        "left": str(one),
        "right": str(two),
        "same_tensors": 1,
        "metadata": {},
        "tensors": {},
    }
    assert run("diff", one, two) == 0 and capsys.readouterr().out == "the same bytes\n"


def test_differences_have_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "a", {"n": 1, "deep": {"x": 1}}, {"lr": 0.1}, w=[[1.0, 2.0]], only=[1], s=[1, 2])
    two = write(tmp_path / "b", {"n": 2, "deep": {"y": 1}}, {"lr": 0.2}, w=[[1.0, 2.5]], s=[[1, 2]], t=np.zeros(0))
    found = diff(one, two)
    assert found["metadata"] == {
        "config.deep.x": [1, None],
        "config.deep.y": [None, 1],
        "config.n": [1, 2],
        "provenance.options.lr": [0.1, 0.2],
    }
    assert found["tensors"] == {
        "only": {"what": "missing", "from": "right"},
        "t": {"what": "missing", "from": "left"},
        "s": {"what": "shape", "left": ["I64", [2]], "right": ["I64", [1, 2]]},
        "w": {"what": "values", "largest": 0.5, "at": [0, 1], "differing": 1, "numbers": 2},
    }
    assert first_difference(found) == "options.lr was 0.1, is 0.2"
    assert run("diff", one, two) == 3
    shown = capsys.readouterr()
    assert (
        shown.out
        == """\
tensors: 0 of the 2 that both have are the same bytes; 1 only left; 1 only right
config
  n: 1 | 2
  only left: deep.x 1
  only right: deep.y 1
provenance.options
  lr: 0.1 | 0.2
tensors
  s: I64 [2] | I64 [1, 2]
  w: 1 of 2 numbers, by at most 0.5 at [0, 1]
  only left: only
  only right: t
"""
    )
    assert "differ; first: options.lr was 0.1, is 0.2" in shown.err


def test_a_file_under_any_name_has_its_history(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nlpkit.tokenizer_train([work / "corpus.txt"], work / "tok", kind="wordpiece", vocab_size=80)
    nlpkit.tokens([work / "corpus.txt"], work / "ids.bin", tokenizer=work / "tok", threads=1)
    assert [record["command"] for record in file.read(work / "ids.bin").metadata["history"].values()] == [
        "tokenizer train"
    ]
    (work / "tok").unlink()
    assert run("verify", "ids.bin", "--chain") == 0
    assert "2 stages run again" in capsys.readouterr().out
    nlpkit.pretrain([work / "ids.bin"], work / "bert.bin", max_len=24, **TINY, **STEPS)
    assert run("evaluate", "bert.bin", "ids.bin") == 0  # a token file, and no text


def test_the_same_tensors_from_elsewhere_are_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "a", options={f"option_{number}": number for number in range(30)}, w=[1.0], v=[2])
    two = write(tmp_path / "b", options={"sha": "0f" * 32, "text": "x" * 90}, w=[1.0], v=[2])
    assert run("diff", one, two) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tensors: all 2 the same bytes" and len(lines) < 12 and max(map(len, lines)) <= 120
    assert "only right: sha 0f0f0f0f0f0f0f0f, text xxx" in " ".join(" ".join(lines).split())


def test_files_that_share_no_tensor_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", write(tmp_path / "a", w=[1.0]), write(tmp_path / "b", v=[1.0])) == 3
    assert capsys.readouterr().out.startswith("tensors: none is in both; 1 only left; 1 only right\n")


def test_a_place_is_named_once_among_those_where_an_input_is_not(work: Path) -> None:
    (work / "corpus.txt").unlink()
    (work / "more.txt").unlink()
    with pytest.raises(UserError) as caught:
        verify(work / "tokens.safetensors")  # in the current folder
    assert caught.value.what.endswith(f" are not in {work}, nor 3 levels below the current folder")


@pytest.mark.parametrize(
    ("left", "right", "says"),
    [
        ({"w": [1.0]}, {"w": [np.nan]}, 'tensor "w" differs in 1 of 1 numbers, without measure at [0]'),
        ({"w": [np.nan, 1.0, 2.0]}, {"w": [np.nan, 1.0, 2.25]}, "in 1 of 3 numbers, by at most 0.25 at [2]"),
        ({"w": [np.inf, 1.0]}, {"w": [np.inf, 3.0]}, "in 1 of 2 numbers, by at most 2.0 at [1]"),
        ({"w": [0.0, -0.0]}, {"w": [0.0, 0.0]}, "in 1 of 2 numbers, by at most 0.0 at [1]"),
        ({"w": 1.0}, {"w": 4.0}, "in 1 of 1 numbers, by at most 3.0 at []"),
        ({"w": [True, False]}, {"w": [True, True]}, "in 1 of 2 numbers, by at most 1.0 at [1]"),
        (
            {"w": np.ones((2, 3), np.uint16)},
            {"w": np.array([[1, 1, 1], [1, 0, 9]], np.uint16)},
            "by at most 8.0 at [1, 2]",
        ),
        ({"w": [1.0]}, {"w": [1]}, 'tensor "w" was F64 [1], is I64 [1]'),
        ({"w": [1.0]}, {}, 'tensor "w" is not in the second'),
        ({}, {"w": [1.0]}, 'tensor "w" is not in the first'),
    ],
)
def test_the_first_difference_in_words(tmp_path: Path, left: dict[str, Any], right: dict[str, Any], says: str) -> None:
    found = compare(file.read(write(tmp_path / "a", **left)), file.read(write(tmp_path / "b", **right)))
    assert says in first_difference(found)


def test_large_tensors_are_compared_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    one, rng = np.zeros((7, 11), np.float32), np.random.default_rng(0)
    two = one.copy()
    two[rng.integers(7, size=9), rng.integers(11, size=9)] = rng.normal(size=9)
    whole = largest(one, two)
    for block in (1, 5, 76):
        monkeypatch.setattr("nlpkit.artifact.diff._BLOCK", block)
        assert largest(one, two) == whole
    assert whole["largest"] == float(np.abs(two).max()) and two[tuple(whole["at"])] != 0
