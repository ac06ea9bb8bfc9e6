"""The documentation speaks of this program: its links, its paths, its command lines and its examples.

Read are README.md, CONTRIBUTING.md, CHANGELOG.md and docs/*.md, as far as they are there.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import toys
from making import WORDS, token_file

from nlpkit.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [page for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md") if page.exists()]
PAGES += sorted((ROOT / "docs").glob("*.md"))
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_EXAMPLE = re.compile(r"<!-- run -->\n```python\n(.*?)^```$", re.M | re.S)
# A path of this repository, as it stands between backticks: `nlpkit/base/seeds.py`, `tests/bytes`, `recipes/Makefile`.
_PATH = re.compile(r"`((?:nlpkit|tests|docs|recipes|benchmarks)/[\w./-]*)`")
# What the contributor's example adds; a test of its own takes its two steps (test_contributing.py).
TO_BE_WRITTEN = {"nlpkit/models/fnet.py"}


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(page: Path) -> set[str]:
    """The places a link may name, as they are made from headings: lower case, no signs, hyphens for spaces."""
    titles = re.findall(r"^#+ (.*)$", prose(page.read_text("utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(text: str) -> list[str]:
    """The nlpkit command lines of a page's fenced blocks without a language, or of a shell, as they would be typed.

    A line may begin with ``$ `` and go on after a backslash. In a Makefile's recipe ``$@`` and the like stand for
    files; a shell's ``$NAME`` stands for a word.
    """
    found: list[str] = []
    for language, body in _FENCE.findall(text):
        if language not in ("", "sh", "console", "make", "yaml"):
            continue
        for line in body.replace("\\\n", " ").splitlines():
            line = re.sub(r"^(\s*- run:|[^\s$|]+:.* ;)", "", line).strip().removeprefix("$ ").split("  # ")[0]
            line = re.sub(r"^(srun )?torchrun .* -m (-- )?nlpkit ", "nlpkit ", line)
            for part in re.split(r" (?:\||&&) ", line):
                if part.strip().startswith("nlpkit "):
                    found.append(re.sub(r"\$[@<^(]\)?|\$\(\w+\)|\$\w+", "FILE", re.split(r" [<>] ?", part.strip())[0]))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(read(name))):
        if re.match(r"[a-z]+:", target):
            continue  # the network is not asked
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(page), f"{name}: {target} names no heading"


@pytest.mark.parametrize("name", NAMES)
def test_every_path_is_there(name: str) -> None:
    for path in sorted(set(_PATH.findall(read(name))) - TO_BE_WRITTEN):
        assert (ROOT / path).exists(), f"{name}: {path}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "docs/commands.md"])  # that one is generated
def test_every_command_line_parses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for recipe in (*(ROOT / "recipes").glob("*.toml"), *(ROOT / "nlpkit/demo").glob("*.toml")):
        shutil.copy(recipe, tmp_path)  # --config is read when the line is parsed
    monkeypatch.chdir(tmp_path)
    for line in commands(read(name)):
        words = shlex.split(line)[1:]
        if words[0].startswith("-"):
            continue
        known = [command for command in app.COMMANDS if words[: len(command.split())] == command.split()]
        assert known, f"{name}: {line}"
        command = max(known, key=len)
        rest = words[len(command.split()) :]
        if "--help" not in rest:  # an unknown flag, a missing argument or a wrong value is an error
            app.load(command).make_context(command, rest)


def test_command_lines_are_found_as_they_are_written() -> None:
    """The test above cannot pass by finding nothing."""
    text = (
        "```\n$ nlpkit info a.safetensors --json | jq .config\nnlpkit tokens a.txt \\\n  -o b\n```\n"
        "```make\nb: a ; nlpkit tokens $< -o $@\n```\n```yaml\n      - run: nlpkit verify m --chain\n```\n"
        "```sh\nsrun torchrun --nnodes 2 -m nlpkit distill a b -o c\n```\n```python\nnlpkit info\n```\n"
    )
    assert commands(text) == [
        "nlpkit info a.safetensors --json",
        "nlpkit tokens a.txt    -o b",
        "nlpkit tokens FILE -o FILE",
        "nlpkit verify m --chain",
        "nlpkit distill a b -o c",
    ]


def examples() -> dict[str, list[str]]:
    """The Python blocks of each page that stand under ``<!-- run -->``."""
    return {name: blocks for name in NAMES if (blocks := _EXAMPLE.findall(read(name)))}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples speak of: corpus.txt, tokens.safetensors, bert.safetensors, train.jsonl."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "corpus.txt").write_text("\n\n".join("\n".join(WORDS) for _ in range(20)) + "\n", "utf-8")
    token_file(folder / "tokens.safetensors")
    toys.model(folder / "bert.safetensors")
    rows = [{"text": text, "label": str(number % 2)} for number, text in enumerate(WORDS * 4)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


@pytest.mark.parametrize("name", examples())
def test_every_example_runs(name: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as in a notebook: what a block defines is there in the next."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in examples()[name]:
        exec(compile(code, name, "exec"), names)


def test_the_python_page_writes_no_file_of_the_tutorial() -> None:
    names = set(re.findall(r'"([\w-]+\.(?:safetensors|txt|jsonl))"', "".join(examples()["docs/python.md"])))
    inputs = {name for name in names if not name.startswith("my-")}
    assert inputs == {"corpus.txt", "tokens.safetensors", "bert.safetensors", "train.jsonl"}
    assert not any(name in read("docs/tutorial.md") for name in names - inputs)


def test_examples_are_found() -> None:
    assert len(examples()["docs/python.md"]) >= 4
