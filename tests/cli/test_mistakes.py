"""What people type out of habit gets an answer to type, and every answer exists; panels know every option."""

from __future__ import annotations

import re
from pathlib import Path

import making
import pytest

from nlpkit.cli import app
from nlpkit.cli.mistakes import FOREIGN, unknown_option
from nlpkit.cli.panels import ELSEWHERE, FIRST, ORDER, PANELS, panel_of
from nlpkit.cli.renamed import RENAMED

ROOT = Path(__file__).parents[2]
FLAGS = {
    name: {flag for param in app.load(name).params for flag in (*param.opts, *param.secondary_opts)}
    for name in app.COMMANDS
}
ALL = set().union(*FLAGS.values())


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app.run(list(words)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["generate", "m", "--temp", "3"], 'no option --temp; did you mean "--temperature"?'),
        (["pretrain", "t", "--stpes", "3"], 'did you mean "--steps"?'),
        (["pretrain", "t", "--batch_tokens", "3"], 'did you mean "--batch-tokens"?'),
        (["pretrain", "t", "-o", "x", "--lr", "fast"], '--lr is "fast", expected a number, such as 5e-4'),
        (["pretrain", "t", "-o", "x", "--steps", "1.5"], '--steps is "1.5", expected an integer, such as 1000'),
        (["finetune", "m", "t", "--learning_rate", "3"], "here it is --lr\n"),
        (["finetune", "m", "t", "--num_train_epochs=3"], "here it is --epochs\n"),
        (["finetune", "m", "--train_file", "t"], "the file's name alone"),
        (["vectors", "train", "t", "--vector_size", "3"], "here it is --dim\n"),
        (["--config", "x.toml", "pretrain", "t"], "no option --config before the command; write it after the command"),
        (["predict", "m", "t", "-o", "out.jsonl"], "no option -o; predict writes to stdout: > FILE"),
    ],
)
def test_the_answer_can_be_typed(capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    assert says in said(capsys, *words)


def test_what_is_answered_exists() -> None:
    for name, answer in FOREIGN.items():
        assert set(re.findall(r"--[a-z0-9-]+", answer)) <= ALL | {"--help"}, name
        assert not any(
            f"--{name}" in flags and f"--{name}" in re.findall(r"--[a-z0-9-]+", answer) for flags in FLAGS.values()
        ), name
    assert unknown_option("--Steps", FLAGS["pretrain"]).endswith('"--steps"?')
    assert unknown_option("--qqqq", FLAGS["pretrain"]) == "no option --qqqq"


def test_plan_needs_no_output_and_suggests_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    making.token_file(tmp_path / "tokens.safetensors", documents=20)
    (tmp_path / "text.txt").write_text("a\n")
    assert "hint: nlpkit plan pretrain tokens.safetensors --size tiny" in said(
        capsys, "plan", "tokens.safetensors", "--size", "tiny"
    )
    assert "hint: nlpkit plan pretrain text.txt" in said(capsys, "plan", "text.txt")
    assert 'did you mean "pretrain"?' in said(capsys, "plan", "pretain", "tokens.safetensors")
    small = "--n-layers 1 --d-model 32 --n-heads 2 --max-len 32 --steps 2 --threads 1".split()
    assert app.run(["plan", "--json", "pretrain", "tokens.safetensors", *small]) == 0
    assert '"output": null' in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"tokens.safetensors", "text.txt"}


def test_an_old_name_is_understood_everywhere_shown_nowhere_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, names in RENAMED.items():
        for old, new in names.items():
            assert f"--{old}" not in FLAGS[command] and f"--{new}" in FLAGS[command]
    given: dict[str, object] = {}

    def parsed(*words: str) -> object:
        given.clear()
        app.load("generate", lambda **found: given.update(found)).main(["m", *words], standalone_mode=False)
        return given["samples"]

    assert parsed("--n", "3") == 3 and "--n is called --samples now" in capsys.readouterr().err
    assert parsed("--n=4") == 4 and parsed() == 1 and capsys.readouterr().err.count("called") == 1
    monkeypatch.setenv("NLPKIT_N", "5")
    app.check_environment()
    assert parsed() == 5
    monkeypatch.delenv("NLPKIT_N")
    (tmp_path / "c.toml").write_text("[generate]\nn = 6\n")
    assert parsed("--config", str(tmp_path / "c.toml")) == 6
    assert app.run(["generate", "--help"]) == 0
    assert not re.search(r"--n\b(?!-)", capsys.readouterr().out)


def test_every_option_has_a_panel_and_every_panel_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Another option goes into the table of nlpkit/cli/panels.py."""
    placed = [name for names in PANELS.values() for name in names]
    assert len(placed) == len(set(placed))
    for command in app.COMMANDS:
        options = {str(param.name) for param in app.load(command).params if param.param_type_name == "option"}
        assert not {name for name in options if (command, name) not in ELSEWHERE} - set(placed), command
        assert set(FIRST.get(command, ())) <= options
        assert all(panel_of(command, name) in ORDER for name in options)
        assert app.run([*command.split(), "--help"]) == 0
        titles = re.findall(r"^╭─ ([\w ]+?) ─", capsys.readouterr().out, re.M)
        shown = [title for title in titles if title != "Arguments"]
        assert shown and shown == sorted(shown, key=ORDER.index), command


def test_the_page_for_those_who_come_from_elsewhere_names_what_exists() -> None:
    page = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `") or line.startswith("| Fast")]
    assert len(rows) > 50
    section = ""
    commands = {
        "transformers: run_mlm.py, run_clm.py": ("pretrain", "tokens"),
        "transformers: run_glue.py": ("finetune",),
        "gensim": ("vectors train", "vectors nearest", "export"),
        "fairseq": ("pretrain",),
    }
    for line in page.splitlines():
        section = line[3:] if line.startswith("## ") else section
        if line.startswith("| ") and not line.startswith("| theirs"):
            ours = line.split(" | ")[1]
            flags = set().union(*(FLAGS[name] for name in commands[section]))
            assert set(re.findall(r"--[a-z0-9-]+", ours)) <= flags, line
            assert all(name in app.COMMANDS for name in re.findall(r"`nlpkit ([a-z ]+)`", ours)), line
    typed = set(re.findall(r"--([a-z0-9_-]+)", "".join(row[0] for row in rows)))
    known = {name.replace("_", "-") for name in FOREIGN} | {flag[2:] for flag in ALL}
    unanswered = {"line-by-line", "config-overrides", "report-to", "ddp-backend"}
    assert {name.replace("_", "-") for name in typed} - known <= unanswered, "and typing it is answered"
