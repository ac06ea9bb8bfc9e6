"""verify, lineage and import of files that a stranger made: what stands in a file is data, never an instruction."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import forging
import pytest
import toys
from forging import given, stage

import nlpkit
from nlpkit.artifact import recorded
from nlpkit.base.errors import UserError
from nlpkit.base.world import COMMANDS
from nlpkit.cli import app
from nlpkit.stages.call import stage_of
from nlpkit.stages.info import lineage
from nlpkit.stages.verify import verify

Json = dict[str, Any]
BASHRC = "# mine\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Honest files, which the hostile ones are made of."""
    folder = tmp_path_factory.mktemp("honest")
    (folder / "corpus.txt").write_text("the king and the queen of the land\n" * 200)
    nlpkit.tokenizer_train([folder / "corpus.txt"], folder / "tok.safetensors", kind="word", vocab_size=11)
    nlpkit.tokens([folder / "corpus.txt"], folder / "t.safetensors", tokenizer=folder / "tok.safetensors", threads=1)
    nlpkit.vectors_train([folder / "corpus.txt"], folder / "vec.safetensors", dim=4, epochs=1, threads=1)
    toys.model(folder / "bert.safetensors")
    nlpkit.export(folder / "bert.safetensors", folder / "hf")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A victim's working folder with the honest files, beside a home. Nothing but what a test writes may be there
    afterwards, in neither, nor be left in the temporary folder."""
    shutil.copytree(made, tmp_path / "work")
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    (home / ".bashrc").write_text(BASHRC)
    (home / "notes").write_text("mine\n")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield tmp_path / "work"
    assert {path.name: path.read_text() for path in home.iterdir()} == {".bashrc": BASHRC, "notes": "mine\n"}
    assert list(temporary.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"work", "home", "tmp"}


def refused(path: Path, says: str, *words: str) -> None:
    """The command line refuses a file with one clear error, and writes nothing."""
    before = {item: item.stat().st_mtime_ns for item in Path.cwd().rglob("*")}
    assert app.run([*(words or ("verify",)), str(path)]) in (2, 3)
    assert {item: item.stat().st_mtime_ns for item in Path.cwd().rglob("*")} == before
    with pytest.raises(UserError, match=re.escape(says)):
        verify(path, chain=True)


def provenance(change: Callable[[Json], Any]) -> forging.Change:
    return lambda metadata, _: change(metadata["provenance"])


def test_nothing_is_overwritten_by_a_name_in_a_chain(place: Path) -> None:
    """Chosen text in the victim's .bashrc, by an export to a recorded absolute name."""
    home = place.parent / "home"

    def words(metadata: Json, tensors: forging.Tensors) -> None:
        names = metadata["config"]["words"]
        names[:] = [f"touch${{IFS}}{home}/PWNED;", *(f"#{number}" for number in range(1, len(names)))]

    vectors = forging.forge(place / "vec.safetensors", place / "v.safetensors", words)

    def chain(metadata: Json, _: forging.Tensors) -> None:
        metadata["provenance"] = stage("import", [given("source", f"{home}/.bashrc")], on_error="error")
        exported = stage("export", [given("model", "v.safetensors", forging.sha256(vectors))], to="glove", force=True)
        metadata["history"] = {"0" * 64: exported}

    bad = forging.forge(place / "tok.safetensors", place / "a.safetensors", chain)
    refused(bad, "is one path component", "verify", "--chain")
    with pytest.raises(UserError, match="is one path component"):
        lineage(bad)


NAMES = [
    "{home}/planted",
    "../../planted",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "C:x",
    "x\0y",
    "x\ny",
    "x\x1b[2Jy",
    "x" * 256,
    "\u2028",
    7,
    None,
    ["x"],
    {},
]


@pytest.mark.parametrize("name", NAMES)
def test_an_input_has_a_name_and_no_path(place: Path, name: Any) -> None:
    name = name.format(home=place.parent / "home") if isinstance(name, str) else name
    inputs = [given("corpus", name, forging.sha256(place / "corpus.txt"))]
    bad = forging.forge(
        place / "tok.safetensors", place / "b.safetensors", provenance(lambda record: record.update(inputs=inputs))
    )
    refused(bad, "has an input named")
    behind = {"1" * 64: stage("tokens", inputs)}
    bad = forging.forge(
        place / "tok.safetensors", place / "b.safetensors", lambda metadata, _: metadata.update(history=behind)
    )
    refused(bad, "has an input named")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log", "{home}/notes"),
        ("output", "x"),
        ("force", True),
        ("threads", 9),
        ("dry_run", True),
        ("save_every", 1),
        ("corpus", ["{home}/notes"]),
    ],
)
def test_an_option_is_neither_a_how_nor_an_input(place: Path, name: str, value: Any) -> None:
    value = json.loads(json.dumps(value).replace("{home}", str(place.parent / "home")))
    bad = forging.forge(
        place / "tok.safetensors",
        place / "c.safetensors",
        provenance(lambda record: record["options"].update({name: value})),
    )
    refused(bad, f'has the option "{name}"')


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 7},
        {"kind": None},
        {"vocab_size": "9"},
        {"vocab_size": True},
        {"vocab_size": 2.5},
        {"field": ["text"]},
        {"vocab_size": 10**30},
        {"field": {"a": 1}},
        {"field": [["text"]]},
        {"on_error": False},
        {"field": "x" * 20_000},
    ],
)
def test_an_option_has_a_value_that_the_stage_takes(place: Path, change: Json) -> None:
    bad = forging.forge(
        place / "tok.safetensors", place / "o.safetensors", provenance(lambda record: record["options"].update(change))
    )
    with pytest.raises(UserError, match=r"which it does not take|gives the option"):
        verify(bad)


def test_an_option_that_the_stage_does_not_have_is_a_difference(place: Path) -> None:
    bad = forging.forge(
        place / "tok.safetensors",
        place / "o.safetensors",
        provenance(lambda record: record["options"].update(colour="red")),
    )
    assert verify(bad)["difference"] == (
        "tokenizer train records the option colour, which this nlpkit's tokenizer train does not have"
    )
    assert app.run(["verify", str(bad)]) == 3


@pytest.mark.parametrize("command", sorted(set(nlpkit.FUNCTIONS) - nlpkit.MAKES))
def test_a_command_that_makes_no_artefact_is_refused_at_reading(place: Path, command: str) -> None:
    bad = forging.forge(
        place / "tok.safetensors",
        place / "d.safetensors",
        provenance(lambda record: record.update(command=command, options={}, inputs=[])),
    )
    refused(bad, f"names the command {command}, which makes no such file")
    with pytest.raises(UserError, match="which makes no such file"):
        lineage(bad)


@pytest.mark.parametrize("command", ["__init__", "os:system", "../tokens", "tokens\x1b[2J", "", 7, None, "nobody's"])
def test_a_command_is_a_word(place: Path, command: Any) -> None:
    bad = forging.forge(
        place / "tok.safetensors", place / "d.safetensors", provenance(lambda record: record.update(command=command))
    )
    refused(bad, "names the command")


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([], "no corpus, which it needs"),
        ([given("model", "corpus.txt")], "an input in the role model, which it does not read"),
        ([given("kind", "corpus.txt")], 'has the option "kind", which is an input'),
        ([given("output", "corpus.txt")], "in the role"),
        ([given("corpus", "corpus.txt", "0" * 63)], "with the sha256"),
        ([given("corpus", "corpus.txt", "../" + "0" * 61)], "with the sha256"),
        ([{"role": "corpus", "name": "corpus.txt"}], "without role, name and sha256"),
        ({"corpus": "corpus.txt"}, "inputs that are not a list"),
        (["corpus.txt"], "without role, name and sha256"),
    ],
)
def test_inputs_are_those_that_the_stage_reads(place: Path, inputs: Any, says: str) -> None:
    bad = forging.forge(
        place / "tok.safetensors", place / "i.safetensors", provenance(lambda record: record.update(inputs=inputs))
    )
    refused(bad, says)


def test_an_input_that_is_read_once_is_there_once(place: Path) -> None:
    sha = forging.sha256(place / "tok.safetensors")
    bad = forging.forge(
        place / "t.safetensors",
        place / "i.safetensors",
        provenance(lambda record: record["inputs"].append(given("tokenizer", "tok.safetensors", sha))),
    )
    refused(bad, "several inputs in the role tokenizer")


def test_an_input_that_is_left_out_is_not_read_from_stdin(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlpkit.embed(place / "bert.safetensors", place / "corpus.txt", output=place / "e.safetensors")
    bad = forging.forge(
        place / "e.safetensors", place / "f.safetensors", provenance(lambda record: record["inputs"].pop())
    )
    monkeypatch.setattr("sys.stdin", None)
    refused(bad, "no data, which it needs")


# Histories.


def test_a_history_that_goes_in_a_circle_is_refused_at_reading(place: Path) -> None:
    def circle(metadata: Json, _: forging.Tensors) -> None:
        for sha, record in metadata["history"].items():
            record["inputs"].append(given("corpus", "loop", sha))

    bad = forging.forge(place / "t.safetensors", place / "cycle.safetensors", circle)
    refused(bad, "goes in a circle")
    for words in (["lineage"], ["info"], ["report", "-o", "r.html"], ["diff", "t.safetensors"]):
        assert app.run([*words, str(bad)]) == 2
    assert not (place / "r.html").exists()


def test_stages_behind_each_other_are_bounded_when_read_and_when_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history: Json = {}
    before: list[Json] = []
    for level in range(recorded.MAX_DEPTH):
        sha = hashlib.sha256(str(level).encode()).hexdigest()
        history[sha] = stage("tokens", before)
        before = [given("corpus", "x", sha)]

    def deep(metadata: Json, _: forging.Tensors) -> None:
        metadata["provenance"]["inputs"], metadata["history"] = before, history

    refused(forging.forge(place / "tok.safetensors", place / "deep.safetensors", deep), "stages behind each other")
    monkeypatch.setattr(recorded, "MAX_DEPTH", 2)  # what could not be read is not written
    with pytest.raises(UserError, match=r"o\.safetensors: its history has 2 stages behind each other"):
        nlpkit.vectors_train([place / "corpus.txt"], place / "o.safetensors", tokenizer=place / "t.safetensors")


def test_a_history_has_a_largest_size(place: Path) -> None:
    many = {
        hashlib.sha256(str(number).encode()).hexdigest(): stage("tokens", [])
        for number in range(recorded.MAX_RECORDS + 1)
    }
    refused(
        forging.forge(
            place / "tok.safetensors", place / "many.safetensors", lambda metadata, _: metadata.update(history=many)
        ),
        "stages; 2,000 are allowed",
    )
    inputs = [given("corpus", "x")] * (recorded.MAX_INPUTS + 1)
    refused(
        forging.forge(
            place / "tok.safetensors",
            place / "wide.safetensors",
            provenance(lambda record: record.update(inputs=inputs)),
        ),
        "inputs; 100,000 are",
    )


@pytest.mark.parametrize(
    ("history", "says"),
    [
        ({"x": {}}, "expected a sha256"),
        ({"0" * 64: []}, "is not an object"),
        ({"0" * 64: {"command": "demo"}}, "demo"),
        ({"0" * 64: {"options": {"log": "x"}}}, '"log"'),
        ({"0" * 64: {"versions": {"../x": "1"}}}, "versions"),
        ({"0" * 64: {"seed": "7"}}, "seed"),
        ({"0" * 64: {"portable": 1}}, "portable"),
    ],
)
def test_a_history_is_checked_as_a_provenance_is(place: Path, history: Json, says: str) -> None:
    refused(
        forging.forge(
            place / "tok.safetensors", place / "h.safetensors", lambda metadata, _: metadata.update(history=history)
        ),
        says,
    )


# A Hugging Face directory with nlpkit.json.


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "../../planted"}, "has an input named"),
        ({"name": None}, "has an input named"),
        ({"sha256": "x"}, "with the sha256"),
        ({"version": ["1"]}, "versions"),
        ({"history": []}, "is not an object"),
        ({"history": {"0" * 64: stage("export", [given("model", "/etc/passwd")])}}, "has an input named"),
        ({"provenance": stage("pretrain", [given("tokens", "t")], log="/tmp/x")}, 'the option "log"'),
        ({"provenance": stage("demo", [])}, "names the command demo"),
        ({"provenance": None}, "is not an object"),
    ],
)
def test_a_directory_that_lies_is_not_imported(
    place: Path, change: Json, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    side = place / "hf" / "nlpkit.json"
    side.write_text(json.dumps({**json.loads(side.read_text()), **change}))
    assert app.run(["import", "hf", "-o", "x.safetensors"]) == 2
    assert says in capsys.readouterr().err and not (place / "x.safetensors").exists()


def test_a_directory_made_from_itself_is_not_imported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    side = place / "hf" / "nlpkit.json"
    content = json.loads(side.read_text())
    content["provenance"]["inputs"] = [given("model", "x", content["sha256"])]
    side.write_text(json.dumps(content))
    assert app.run(["import", "hf", "-o", "x.safetensors"]) == 2
    assert "goes in a circle" in capsys.readouterr().err


# What verify itself holds, and what the table of stages says.


def test_names_are_checked_again_where_they_are_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if reading let it pass, nothing leaves the temporary folder."""
    monkeypatch.setattr(recorded, "check", lambda *_, **__: None)
    for name in (f"{place.parent}/home/planted", "../../../home/planted", "..", ""):
        inputs = [given("corpus", name, forging.sha256(place / "corpus.txt"))]
        bad = forging.forge(
            place / "tok.safetensors",
            place / "b.safetensors",
            provenance(lambda record, inputs=inputs: record.update(inputs=inputs)),
        )
        with pytest.raises(UserError, match="a file name"):
            verify(bad)
    for change in ({"log": f"{place.parent}/home/notes"}, {"output": "x"}, {"corpus": ["x"]}):
        bad = forging.forge(
            place / "tok.safetensors",
            place / "c.safetensors",
            provenance(lambda record, change=change: record["options"].update(change)),
        )
        with pytest.raises(UserError, match="which is none"):
            verify(bad)
    bad = forging.forge(
        place / "tok.safetensors",
        place / "d.safetensors",
        provenance(lambda record: record.update(command="demo", options={}, inputs=[])),
    )
    with pytest.raises(UserError, match='stage "demo" is unknown'):
        verify(bad)


def test_the_folder_is_private(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "corpus.txt").rename(place / "other.txt")  # so that it must be given its name again
    seen: list[int] = []

    def train(corpus: list[Path], output: Path, **_: Any) -> None:
        private = place.parent / "tmp"
        seen.extend(folder.stat().st_mode & 0o777 for folder in private.rglob("*") if folder.is_dir())
        assert output.is_relative_to(private.resolve()) and not os.path.lexists(output)
        assert corpus[0].name == "corpus.txt" and corpus[0].resolve() == (place / "other.txt").resolve()
        shutil.copy(place / "tok.safetensors", output)

    real = stage_of("tokenizer train")
    monkeypatch.setattr("nlpkit.stages.verify.stage_of", lambda _: type(real)(**{**vars(real), "function": train}))
    assert verify(place / "tok.safetensors")["proven"] and seen == [0o700] * 3


def test_a_result_that_becomes_a_link_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stage_of("tokenizer train")

    def train(output: Path, **_: Any) -> None:
        output.symlink_to(place / "tok.safetensors")

    monkeypatch.setattr("nlpkit.stages.verify.stage_of", lambda _: type(real)(**{**vars(real), "function": train}))
    with pytest.raises(UserError, match="was replaced by a link"):
        verify(place / "tok.safetensors")


SEARCHES = {f"tune {command}" for command in COMMANDS}  # one function over each


def sources() -> dict[str, str]:
    """Command -> the source of the module of its function."""
    return {name: inspect.getsource(import_module(target.split(":")[0])) for name, target in nlpkit.FUNCTIONS.items()}


def begun(command: str, source: str) -> re.Match[str] | None:
    """Where a module begins a run of a command; the inputs that it names."""
    return re.search(rf'(?:Run\.start|training_run)\(\s*"{command}".*?inputs=\(([^)]*)\)', source, re.DOTALL)


def test_the_table_names_the_commands_that_write_an_artefact() -> None:
    writers = {command for command, source in sources().items() if begun(command, source)}
    assert writers | {"export", *SEARCHES} == nlpkit.MAKES


@pytest.mark.parametrize("command", sorted(SEARCHES))
def test_a_search_reads_what_its_command_reads(command: str) -> None:
    found, inner = stage_of(command), stage_of(command.removeprefix("tune "))
    assert found.inputs.keys() == inner.inputs.keys() and found.needed == inner.needed | {"dev"}
    assert found.options.keys() == inner.options.keys() - {"seed"} | {"grid", "seeds", "halving"}


@pytest.mark.parametrize("command", sorted(nlpkit.MAKES - {"export"} - SEARCHES))
def test_a_stage_reads_the_inputs_that_its_parameters_say(command: str) -> None:
    """`verify` takes parameters that are paths for inputs; the function itself says the same."""
    found, said = stage_of(command), begun(command, sources()[command])
    assert said is not None and set(re.findall(r"\w+", said[1])) == set(found.inputs)
    assert "output" in found.how and not {*found.inputs, *found.options} & recorded.HOW
