"""The manners of a command: where options come from, what goes to which stream, what a dry run leaves alone."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import making
import pytest

from nlpkit.cli import display, output
from nlpkit.cli.app import run
from nlpkit.stages import advice
from nlpkit.training import loop

SMALL = "--n-layers 1 --d-model 32 --n-heads 2 --max-len 32 --batch-tokens 256 --threads 1".split()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    making.token_file(tmp_path / "tokens.safetensors", documents=20)
    (tmp_path / "text.txt").write_text("some words\nand others\n" * 20)
    return tmp_path


def pretrain(*words: str, target: str = "m.safetensors") -> int:
    return run(["pretrain", "tokens.safetensors", "-o", target, *SMALL, *words])


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert pretrain("-n", *words) == 0
    return dict(json.loads(capsys.readouterr().out)["options"])


def killed_after(steps: int, *words: str) -> None:
    """Leave an unfinished run."""
    update, seen = loop.update, []
    with pytest.MonkeyPatch.context() as patch:

        def dying(*args: Any) -> float:
            seen.append(0)
            if len(seen) > steps:
                raise MemoryError
            return float(update(*args))

        patch.setattr(loop, "update", dying)
        assert pretrain("--save-every", "1", *words) == 1


def test_flag_then_environment_then_file_then_default(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "r.toml").write_text("lr = 0.25\n[pretrain]\nsteps = 7\nseed = 3\n[finetune]\nsteps = 99\n")
    assert planned(capsys)["lr"] == 1e-3
    found = planned(capsys, "--config", "r.toml")
    assert (found["lr"], found["steps"], found["seed"]) == (0.25, 7, 3)
    monkeypatch.setenv("NLPKIT_STEPS", "8")
    monkeypatch.setenv("NLPKIT_SEED", "4")
    found = planned(capsys, "--config", "r.toml", "--seed", "5")
    assert (found["lr"], found["steps"], found["seed"]) == (0.25, 8, 5)
    monkeypatch.setenv("NLPKIT_CONFIG", "r.toml")
    assert planned(capsys)["lr"] == 0.25


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stps = 3", 'option of pretrain "stps" is unknown; did you mean "steps"?'),
        ("[pretrian]\nsteps = 3", 'table "pretrian" is unknown; did you mean "pretrain"?'),
        ("[pretrain]\nstps = 3", 'did you mean "steps"?'),
        ("steps = ", "is not valid TOML"),
        ("steps = 5.5", "steps = 5.5: "),
        ("dropout = true", "dropout = True: "),
        ("steps = [3]", "one value is expected, not a list"),
        ("steps = 2020-01-01", "steps = "),
        ("debug = true", 'option of pretrain "debug" is unknown'),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(
    here: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    (here / "r.toml").write_text(text)
    assert pretrain("--config", "r.toml") == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: r.toml: ") and says in said.err and said.out == ""
    assert not (here / "m.safetensors").exists()


def test_true_and_text_and_lists_are_read_as_if_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "r.toml").write_text('force = true\njson = true\nmasks = "static"\nlr = 1\nthreads = "2"\n')
    (here / "m.safetensors").write_text("old")
    assert pretrain("--config", "r.toml", "--steps", "0") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == output.SCHEMA


@pytest.mark.parametrize(
    ("name", "says"),
    [("NLPKIT_STPS", '"NLPKIT_STEPS"'), ("NLPKIT_DEBUG", "is unknown"), ("NLPKIT_CORPUS", "is unknown")],
)
def test_an_unknown_variable_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, says: str
) -> None:
    monkeypatch.setenv(name, "3")
    assert pretrain("--steps", "0") == 2
    assert f'environment variable "{name}" is unknown' in (said := capsys.readouterr().err) and says in said
    assert len(said) < 600  # not the names of all options


def test_json_is_one_object_alone_and_the_log_has_the_rest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("--steps", "3", "--json", "--log", "l.jsonl", "--log-every", "1") == 0
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    found = json.loads(line)
    assert found["schema"] == output.SCHEMA and found["output"] == "m.safetensors" and len(found["sha256"]) == 64
    assert "\r" not in said.err and "\x1b" not in said.err  # no bar where nobody looks
    events = [json.loads(line) for line in (here / "l.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("step") == 3 and events[-1]["event"] == "done"
    step = next(event for event in events if event["event"] == "step")
    assert {"step", "steps", "loss", "lr", "gradient_norm", "tokens"} <= set(step)


def test_what_a_person_is_told_goes_to_stderr(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("--steps", "1") == 0
    said = capsys.readouterr()
    assert said.out == "" and "m.safetensors: model" in said.err and "sha256" in said.err


def test_a_long_run_that_nobody_watches_says_a_line_a_minute(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain("--steps", "4", "--log-every", "1") == 0
    assert "step " not in capsys.readouterr().err
    monkeypatch.setattr(display, "HEARTBEAT", 0.0)
    assert pretrain("--steps", "4", "--log-every", "1", "--force") == 0
    assert "step 1/4, loss " in capsys.readouterr().err


def test_a_dry_run_prints_the_plan_and_touches_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed_after(2, "--steps", "5")
    (here / "n.safetensors").write_text("a finished result")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in here.iterdir()}
    capsys.readouterr()
    for words in (["--steps", "5"], ["--steps", "6", "--fresh"], ["--steps", "5", "--force", "--log", "l.jsonl"]):
        plan = planned(capsys, *words)
        assert plan["steps"] == int(words[1])
    assert pretrain("-n", "--json", target="n.safetensors") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dry_run"] is True and found["parameters"] > 0 and found["output"] == "n.safetensors"
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in here.iterdir() if path.name != "l.jsonl"}
    assert after == before


def test_a_finished_result_is_overwritten_only_by_force(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "m.safetensors").write_text("mine")
    assert pretrain("--steps", "0") == 2
    assert "m.safetensors: exists already" in capsys.readouterr().err
    assert (here / "m.safetensors").read_text() == "mine"
    assert pretrain("--steps", "0", "--force") == 0
    assert (here / "m.safetensors").stat().st_size > 1000


def test_going_on_with_other_options_names_each(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed_after(2, "--steps", "5")
    capsys.readouterr()
    assert pretrain("--steps", "6", "--lr", "0.01") == 2
    said = capsys.readouterr().err
    assert "lr was 0.001, is 0.01; steps was 5, is 6" in said and "--fresh" in said
    assert pretrain("--steps", "6", "--lr", "0.01", "--fresh") == 0
    assert "resuming" not in capsys.readouterr().err and not (here / "m.safetensors.resume").exists()


def test_the_same_command_goes_on_where_it_was(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed_after(2, "--steps", "5")
    capsys.readouterr()
    assert pretrain("--steps", "5", "--threads", "2", "--log-every", "1") == 0  # another *how* is the same command
    assert "resuming m.safetensors at step 2" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["tokenizer", "train", "text.txt"], ["export", "tokens.safetensors"]])
def test_a_result_does_not_go_to_stdout(here: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run([*words, "-o", "-"]) == 2
    assert "it cannot go to stdout" in capsys.readouterr().err and not (here / "-").exists()


def test_debug_shows_where_an_error_came_from(here: Path) -> None:
    from nlpkit.base.errors import UserError

    with pytest.raises(UserError):
        run(["info", "nowhere.safetensors", "--debug"])


def test_a_bar_is_for_terminals(here: Path) -> None:
    """On a terminal there is one, in colour unless NO_COLOR says no; the data is the same."""

    def watched(target: str, **environment: str) -> bytes:
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "nlpkit", "tokenizer", "train", "text.txt", "-o", target, "--kind", "word"]
        process = subprocess.Popen(
            command,
            stderr=slave,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(slave)
        seen = b""
        try:
            while part := os.read(master, 4096):
                seen += part
        except OSError:  # Linux's way to say that the other end is closed
            pass
        assert process.wait() == 0
        os.close(master)
        return seen

    coloured, plain = watched("a.safetensors"), watched("b.safetensors", NO_COLOR="1")
    assert b"tokenizer train" in coloured and b"\x1b[?25l" in coloured
    assert b"\x1b[3" in coloured and b"\x1b[3" not in plain
    assert (here / "a.safetensors").read_bytes() == (here / "b.safetensors").read_bytes()


EARLY = """
import os, signal, sys
module, name = sys.argv[1:]

class Moment:
    def find_spec(self, asked, *rest):
        if asked == module:
            os.kill(os.getpid(), getattr(signal, name))

sys.meta_path.insert(0, Moment())
from nlpkit.__main__ import main
sys.argv[1:] = ["ls", "models"]
main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["nlpkit.cli.app", "typer", "typer.core", "nlpkit.cli.options", "nlpkit.cli.ls"])
def test_an_interrupt_while_the_program_is_imported_is_one_line(module: str, name: str) -> None:
    done = subprocess.run([sys.executable, "-c", EARLY, module, name], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_a_loss_that_rose_is_reported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard = advice.Seen()
    for record in (
        {"event": "training", "step": 0},
        {"event": "step", "loss": 2.0, "losses": {}},
        {"event": "step", "loss": 3.0, "losses": {}},
    ):
        heard(record)
    assert heard.rose and (heard.first, heard.last) == (2.0, 3.0)
    heard({"event": "training", "step": 5})  # resumed: the first loss is unknown
    heard({"event": "step", "loss": 2.0, "losses": {}})
    heard({"event": "step", "loss": 3.0, "losses": {}})
    assert not heard.rose
    assert pretrain("--steps", "8", "--lr", "5", "--warmup-fraction", "0", "--log-every", "1", "--clip-norm", "0") == 0
    assert "the loss rose from" in (said := capsys.readouterr().err) and "try --lr 0.001" in said
    assert pretrain("--steps", "8", "--lr", "1e-3", "--log-every", "4", "--force") == 0
    assert "the loss rose" not in capsys.readouterr().err
