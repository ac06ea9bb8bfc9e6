"""The tutorial is what it prints: a test types its commands in order, in portable mode, and compares every line.

``python tests/contract/test_tutorial.py --write`` types them and writes what they print into docs/tutorial.md, and into
pages that show a command of the tutorial too. A page is plain: in a block that begins with ``$ ``, a line of three dots
stands for any number of lines and three dots in a line for any characters, and writing keeps both. A block under
``<!-- file: NAME -->`` is saved under that name, one under ``<!-- run -->`` is run by Python.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
OTHERS = [ROOT / "docs" / name for name in ("defaults.md", "reproducibility.md")]  # they show commands of the tutorial
THREADS = "2"

_BLOCK = re.compile(r"^(?:<!-- (?P<mark>run|file: \S+) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
# Progress, which depends on the machine's pace, and figures that do, of plans.
_PROGRESS = re.compile(
    r"about .* at the pace of the first |step [\d,]+/[\d,]+, loss |(\S.*: )?[\d:]+ so far$|compiling kernels: "
)
_MEASURED = re.compile(r'\s*"?(time|seconds|memory|memory_bytes)"?\b')
_VALUE = re.compile(r"\b[0-9a-f]{12,64}\b|-?\b\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass
class Step:
    """One thing to do: a command that prints ``lines``, or a block that is saved as a file or run by Python."""

    command: str
    lines: list[str] = field(default_factory=list)
    typed: str = ""  # the command as it stands on the page, over several lines perhaps
    file: str = ""
    code: str = ""


def console(body: str) -> list[Step]:
    """The commands of a block and the lines below each."""
    steps: list[Step] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line[2:], typed=line))
        elif steps[-1].command.endswith("\\"):
            steps[-1].command = f"{steps[-1].command[:-1].rstrip()} {line.strip()}"
            steps[-1].typed += f"\n{line}"
        else:
            steps[-1].lines.append(line)
    return steps


def steps_of(page: str) -> list[Step]:
    steps: list[Step] = []
    for block in _BLOCK.finditer(page):
        mark, body = block["mark"] or "", block["body"]
        if mark.startswith("file: "):
            steps.append(Step("", file=mark.removeprefix("file: "), code=body))
        elif mark == "run":
            steps.append(Step("", code=body))
        elif body.startswith("$ "):
            steps += console(body)
    return steps


def pattern(lines: list[str], *, values: bool) -> re.Pattern[str]:
    """What these lines of a page match; without ``values``, lines of their form with any numbers and hashes."""
    text = ""
    for line in lines:
        if line.strip() == "...":
            text += "(?:.*\n)*?"
            continue
        if measured := _MEASURED.match(line):
            text += f"{re.escape(measured[0])}.*\n"
            continue
        text += ".*?".join(re.escape(part) if values else _shape(part) for part in line.split("...")) + "\n"
    return re.compile(text)


def _shape(text: str) -> str:
    """Any numbers and hashes, and as many blanks as make columns of them."""
    between = [r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in _VALUE.split(text)]
    return r"(?:[0-9a-f]{12,64}|-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)".join(between)


def agree(lines: list[str], printed: list[str]) -> bool:
    return pattern(lines, values=True).fullmatch("".join(f"{line}\n" for line in printed)) is not None


def renewed(lines: list[str], printed: list[str]) -> list[str]:
    """``lines`` of a page with the values that were printed; all that was printed, where its form is another."""
    if agree(lines, printed):
        return lines
    groups = "".join(f"({pattern([line], values=False).pattern})" for line in lines)
    if not (match := re.fullmatch(groups, "".join(f"{line}\n" for line in printed))):
        return printed
    return [
        line if line.strip() == "..." else _filled(line, group.removesuffix("\n"))
        for line, group in zip(lines, match.groups(), strict=True)
    ]


def _filled(line: str, printed: str) -> str:
    """A printed line with the three dots that the page's line has."""
    if _MEASURED.match(line):
        return printed
    parts = [f"({_shape(part)})" for part in line.split("...")]
    match = re.fullmatch(".*?".join(parts), printed)
    assert match
    return "...".join(match.groups())


def type_in(steps: list[Step], folder: Path) -> dict[str, list[str]]:
    """Do all steps in a folder; what each command printed, on either stream, without progress."""
    (tools := folder.parent / "bin").mkdir()
    for name, words in (("nlpkit", " -m nlpkit"), ("python3", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{words} "$@"\n')
        (tools / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NLPKIT_")}
    ours = {"NLPKIT_PORTABLE": "1", "NLPKIT_THREADS": THREADS, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    environment = {**kept, **ours, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    printed: dict[str, list[str]] = {}
    for step in steps:
        if step.file:
            (folder / step.file).write_text(step.code, "utf-8")
            continue
        words = ["bash", "-c", step.command] if step.command else [sys.executable, "-c", step.code]
        done = subprocess.run(
            words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode:
            raise AssertionError(f"exit code {done.returncode}: {step.command or step.code}\n{done.stdout}")
        if step.command:
            printed[step.command] = [line for line in done.stdout.splitlines() if not _PROGRESS.match(line)]
    return printed


def write(page: Path, printed: dict[str, list[str]]) -> None:
    """Write anew what the commands of a page print, where they are among those that were typed."""

    def block(match: re.Match[str]) -> str:
        if match["mark"] or not match["body"].startswith("$ "):
            return match[0]
        text = ""
        for step in console(match["body"]):
            lines = renewed(step.lines, printed[step.command]) if step.command in printed else step.lines
            text += "".join(f"{line}\n" for line in [*step.typed.splitlines(), *lines])
        return f"```{match['language']}\n{text}```"

    page.write_text(_BLOCK.sub(block, page.read_text("utf-8")), "utf-8")


def shown(page: Path) -> dict[str, list[str]]:
    """The lines that a page shows below each command."""
    return {step.command: step.lines for step in steps_of(page.read_text("utf-8")) if step.command}


def installed_otherwise() -> list[str]:
    """Packages that compute, of other versions than constraints.txt has."""
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    names = ("torch", "numpy", "numba", "llvmlite", "scipy", "tokenizers", "safetensors", "matplotlib")
    here = {name: metadata.version(name).split("+")[0] for name in names}
    return [f"{name} {version}" for name, version in here.items() if version != pinned[name]]


@pytest.mark.slow
def test_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    if others := installed_otherwise():
        pytest.skip(f"the tutorial was written with the versions of constraints.txt; here are {', '.join(others)}")
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    (folder := tmp_path / "tutorial").mkdir()
    steps = steps_of(TUTORIAL.read_text("utf-8"))
    printed = type_in(steps, folder)
    other = [step for step in steps if step.command and not agree(step.lines, printed[step.command])]
    assert not other, (
        "other than the page says (after a change that is meant: python tests/contract/test_tutorial.py --write):\n"
        + "\n".join("\n".join([f"$ {step.command}", *printed[step.command]]) for step in other)
    )


def test_pages_that_show_a_command_of_the_tutorial_show_what_it_prints() -> None:
    tutorial = shown(TUTORIAL)
    for page in OTHERS:
        lines = shown(page)
        both = lines.keys() & tutorial.keys()
        assert both, page.name
        for command in both:
            ours = [line for line in lines[command] if "..." not in line]
            assert set(ours) <= set(tutorial[command]), f"{page.name}: {command}"


def test_the_makefile_makes_what_was_typed(tmp_path: Path) -> None:
    """By the same options, so that Make finds nothing to do in the tutorial's folder."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    steps = steps_of(TUTORIAL.read_text("utf-8"))
    (tmp_path / "Makefile").write_text(next(step.code for step in steps if step.file == "Makefile"))
    for name in ("corpus.txt", "held.txt", "train.jsonl", "dev.jsonl", "test.jsonl"):
        (tmp_path / name).touch()
    run = subprocess.run(["make", "-nB", "all"], cwd=tmp_path, capture_output=True, text=True, check=True)
    typed = [sorted(shlex.split(step.command.split(" --log ")[0])) for step in steps if "nlpkit" in step.command]
    made = [line for line in run.stdout.splitlines() if "nlpkit" in line]
    assert len(made) == 7
    for line in made:
        assert sorted(shlex.split(line.replace(" --force", ""))) in typed, line


def test_plan_dry_run_and_run_are_of_one_model() -> None:
    tutorial = shown(TUTORIAL)

    def text(*words: str) -> str:
        return next("\n".join(lines) for command, lines in tutorial.items() if all(word in command for word in words))

    def number(sign: str, text: str) -> int:
        match = re.search(sign, text)
        assert match, sign
        return int(match[1].replace(",", ""))

    plan, dry = text("nlpkit plan pretrain"), text("nlpkit pretrain", "--dry-run")
    assert number(r"parameters +([\d,]+)", plan) == number(r'"parameters": (\d+)', dry)
    steps = number(r"updates +([\d,]+)", plan)
    assert steps == number(r'"steps": (\d+)', dry)
    assert steps == number(r"evaluation at step ([\d,]+)", text("nlpkit pretrain", "--log"))


def test_the_readme_is_the_tutorial_in_short() -> None:
    """Its commands are the tutorial's, in this order, with no option that the tutorial has no need of."""
    readme = (ROOT / "README.md").read_text("utf-8").split("## Your own text")[1].split("\n## ")[0]
    block = next(match["body"] for match in _BLOCK.finditer(readme) if "nlpkit tokens" in match["body"])

    def spoken(command: str) -> tuple[str, set[str]]:
        words = shlex.split(command[command.index("nlpkit") :])[1:]
        name = " ".join(words[:2]) if words[0] in ("tokenizer", "vectors") else words[0]
        return name, {word for word in words if word.startswith("-")}

    typed = [spoken(command) for command in shown(TUTORIAL) if "nlpkit " in command]
    short = [spoken(line) for line in block.splitlines()]
    assert len(short) == 7
    rest = iter(typed)
    for name, options in short:
        assert any(name == other and options <= {*more, "--min"} for other, more in rest), name


PAGE = """
```
$ nlpkit count a.txt \\
    --fast
first 12 words, sha256 0123456789abcdef
...
last  3 words ... in all
done
time        4 s
```
"""
PRINTED = ["first 12 words, sha256 0123456789abcdef", "more", "last  3 words of 9 in all", "done", "time        50 s"]


def test_a_page_is_compared_line_by_line() -> None:
    (step,) = steps_of(PAGE)
    assert step.command == "nlpkit count a.txt --fast"
    assert agree(step.lines, PRINTED)
    for number, line in ((0, "first 13 words, sha256 0123456789abcdef"), (2, "last  3 words"), (3, "failed")):
        assert not agree(step.lines, [*PRINTED[:number], line, *PRINTED[number + 1 :]])
    assert not agree(step.lines, [*PRINTED, "one more"])
    assert not agree(["a", "b"], ["a"])


def test_a_page_is_written_from_what_was_printed(tmp_path: Path) -> None:
    (page := tmp_path / "page.md").write_text(PAGE)
    command = "nlpkit count a.txt --fast"
    write(page, {command: PRINTED})
    assert page.read_text() == PAGE  # a time alone changes nothing
    printed = ["first 9 words, sha256 fedcba9876543210", "x", "y", "last 1,300 words of 9 in all", "done", "time  5 s"]
    write(page, {command: printed})
    lines = ["first 9 words, sha256 fedcba9876543210", "...", "last 1,300 words ... in all", "done", "time  5 s"]
    assert shown(page) == {command: lines} and agree(lines, printed)
    assert page.read_text().startswith("\n```\n$ nlpkit count a.txt \\\n    --fast\nfirst 9")
    write(page, {command: ["something", "else"]})
    assert shown(page) == {command: ["something", "else"]}


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/contract/test_tutorial.py --write")
    if others := installed_otherwise():
        sys.exit(f"it is written with the versions of constraints.txt; here are {', '.join(others)}")
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name) / "tutorial").mkdir()
        printed = type_in(steps_of(TUTORIAL.read_text("utf-8")), folder)
    for page in (TUTORIAL, *OTHERS):
        write(page, printed)
        for command, lines in shown(page).items():
            assert command not in printed or agree(lines, printed[command]), command
