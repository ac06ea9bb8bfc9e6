"""The reader of artefacts believes nothing: whatever a file holds, reading it gives its content or a UserError."""

from __future__ import annotations

import copy
import json
import random
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forging
import mutating
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlpkit.artifact import file, safetensors
from nlpkit.base.canonical import canonical
from nlpkit.base.errors import UserError

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2, 3], np.uint16)}
MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Numbers at which something overflows: an int, numpy's sizes, Python's limit to the digits of a number.
HUGE = [2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, 2**65, 10**400, 10**4299]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "x.safetensors"
    file.write(path, TENSORS, kind="model", config={"d_model": 2}, provenance={}, history={}, determinism={})
    return path.read_bytes()


def read_all(path: Path, data: bytes) -> dict[str, bytes] | UserError:
    """What a file of these bytes holds, or the error of reading it; anything else that is raised is a failure."""
    path.write_bytes(data)
    try:
        artifact = file.read(path)
        artifact.check()
        return {name: artifact.array(name).tobytes() for name in artifact.tensors}
    except UserError as error:
        assert str(path) in str(error) and "\n" not in error.what and len(error.what) < 300
        return error


def header_of(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    return found


def with_header(header: str, data: bytes) -> bytes:
    raw = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw + data


def test_every_single_flipped_bit_is_found(good: bytes, tmp_path: Path) -> None:
    """All of them, header and data, not a sample."""
    path = tmp_path / "x.safetensors"
    assert not isinstance(read_all(path, good), UserError)
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        assert isinstance(read_all(path, bytes(damaged)), UserError), f"bit {bit}"


def test_every_truncation_and_extension_is_found(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for size in range(len(good)):
        assert isinstance(read_all(path, good[:size]), UserError), f"{size} bytes"
    for more in (b"\0", b" ", good):
        assert isinstance(read_all(path, good + more), UserError)


@MANY
@given(data=st.data())
def test_pieces_cut_out_doubled_or_overwritten_are_found(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(good) - 1))
    end = data.draw(st.integers(start + 1, min(len(good), start + 64)))
    new = data.draw(st.one_of(st.just(b""), st.just(good[start:end] * 2), st.binary(max_size=32)))
    changed = good[:start] + new + good[end:]
    found = read_all(tmp_path / "x.safetensors", changed)
    assert isinstance(found, UserError) == (changed != good)


numbers = st.one_of(
    st.integers(-3, 9), st.sampled_from(HUGE), st.floats(), st.booleans(), st.none(), st.text(max_size=3)
)
values = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.one_of(st.sampled_from([*safetensors.DTYPES, "F4", "f32"]), values),
        "shape": st.one_of(st.lists(numbers, max_size=5), st.just([1] * 70), values),
        "data_offsets": st.one_of(
            st.lists(numbers, max_size=3), st.tuples(st.integers(0, 9), st.integers(0, 9)), values
        ),
    },
    optional={"more": values},
)
headers = st.dictionaries(
    st.one_of(st.sampled_from(["a", "b", "__metadata__"]), st.text(max_size=5)), st.one_of(entries, values), max_size=4
)


@MANY
@given(header=headers, data=st.binary(max_size=24))
def test_any_header_is_an_error(tmp_path: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header)
    assert isinstance(read_all(tmp_path / "x.safetensors", with_header(text, data)), UserError)


@MANY
@given(data=st.data())
def test_any_value_in_a_good_header_is_an_error(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    header = header_of(good)
    name = data.draw(st.sampled_from(["a", "b"]))
    key = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
    value = data.draw(st.one_of(st.lists(numbers, max_size=4), values))
    if value == header[name][key]:
        return
    header[name][key] = value
    length = struct.unpack("<Q", good[:8])[0]
    found = read_all(tmp_path / "x.safetensors", with_header(json.dumps(header), good[8 + length :]))
    assert isinstance(found, UserError)


def forged(good: bytes, change: Callable[[dict[str, Any]], Any]) -> str:
    """A header whose metadata was changed and whose digest was made to agree: by someone who knows how."""
    header = header_of(good)
    metadata = json.loads(header["__metadata__"]["nlpkit"])
    change(metadata)
    metadata["digest"] = file._digest(metadata, {name: header[name] for name in ("a", "b")})
    header["__metadata__"]["nlpkit"] = canonical(metadata)
    return json.dumps(header)


@MANY
@given(
    field=st.sampled_from(["format", "kind", "config", "tokenizer", "provenance", "history", "tensors", "new"]),
    value=st.one_of(
        values.filter(lambda value: "NaN" not in json.dumps(value) and "Inf" not in json.dumps(value)),
        st.just({"a": "0" * 64, "b": None}),
    ),
)
def test_metadata_with_a_right_digest_is_read_or_refused(good: bytes, tmp_path: Path, field: str, value: Any) -> None:
    text = forged(good, lambda metadata: metadata.__setitem__(field, value))
    length = struct.unpack("<Q", good[:8])[0]
    found = read_all(tmp_path / "x.safetensors", with_header(text, good[8 + length :]))
    if field in ("format", "tensors"):
        assert isinstance(found, UserError) or (field == "format" and value == 1)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' + nested(100_000) + "}",
        '{"a":{"dtype":"U8","shape":' + nested(900) + ',"data_offsets":[0,0]}}',
        '{"a":{"dtype":"F32","shape":[' + "1," * 64 + '1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1' + "0" * 5000 + '],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[' + ",".join(["9" * 4000] * 20) + '],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[' + "9" * 4300 + "," + "9" * 4299 + "8]}}",
        '{"a":{"dtype":"F64","shape":[0,' + str(2**61) + '],"data_offsets":[0,0]}}',
        '{"a":{"dtype":"U8","shape":[0,' + str(10**30) + '],"data_offsets":[0,0]}}',
        '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}',
        '{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}',
        '{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}}',
        '{"' + "n" * 100_000 + '":1}',
        '{"a\\nerror: forged":1}',
        '{"__metadata__":{"nlpkit":' + json.dumps('{"config":' + nested(100_000) + "}") + "}}",
        '{"__metadata__":{"nlpkit":' + json.dumps('{"format":' + "9" * 5000 + "}") + "}}",
        '{"__metadata__":{"nlpkit":"\\ud800"}}',
        '{"__metadata__":{"nlpkit":"{}","nlpkit":"{}"}}',
        '{"__metadata__":{"nlpkit":"{}"},"__metadata__":{}}',
        '{"__metadata__":null}',
        '{"\udcff":1}',
    ],
)
def test_hostile_headers_are_errors(tmp_path: Path, text: str) -> None:
    assert isinstance(read_all(tmp_path / "x.safetensors", with_header(text, b"\0" * 4)), UserError)


@pytest.mark.parametrize(
    "config",
    ['{"a":NaN}', '{"a":1e999}', '{"a":"\\ud800"}', '{"a":1,"a":1}', '{"a": 1}', '{"a":' + nested(5_000) + "}"],
)
def test_metadata_that_nlpkit_would_not_write_is_refused(good: bytes, tmp_path: Path, config: str) -> None:
    header = header_of(good)
    header["__metadata__"]["nlpkit"] = header["__metadata__"]["nlpkit"].replace('{"d_model":2}', config)
    length = struct.unpack("<Q", good[:8])[0]
    found = read_all(tmp_path / "x.safetensors", with_header(json.dumps(header), good[8 + length :]))
    assert isinstance(found, UserError)


@pytest.mark.parametrize("claimed", [2**63, 2**40, 99_999_999, 200])
def test_a_claim_costs_no_memory(good: bytes, tmp_path: Path, claimed: int) -> None:
    """A length or a shape that is larger than the file is refused before anything of that size is made."""
    lengths = struct.pack("<Q", claimed) + good[8:]
    text = json.dumps({"a": {"dtype": "U8", "shape": [claimed], "data_offsets": [0, claimed]}})
    tracemalloc.start()
    try:
        for data in (lengths, with_header(text, b"")):
            assert isinstance(read_all(tmp_path / "x.safetensors", data), UserError)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_shrinks_after_it_was_opened_is_an_error(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(good)
    artifact = file.read(path)
    path.write_bytes(good[: len(good) - 10])
    with pytest.raises(UserError, match="has changed since it was opened"):
        artifact.check()
    path.unlink()
    with pytest.raises(UserError, match="cannot map it in memory: No such file"):
        artifact.check()


def test_a_file_that_shrinks_after_it_was_mapped_is_an_error_and_no_signal(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(good)
    artifact = file.read(path)
    artifact.check()
    path.write_bytes(good[:100])
    with pytest.raises(UserError, match="was cut to 100 bytes while it was read"):
        artifact.check()


# Content that is wrong behind a digest that is right: read, measured, refused, but never a traceback.


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    mutating.prepare(folder)
    return folder


def feed(folder: Path, seeds: range, *, lines: int) -> None:
    """Mutate a file a seed and give it to some of the commands that read it. What is raised is a failure, and so is an
    exit code that no command has."""
    files = {name: forging.load(folder / f"{name}.safetensors") for name in mutating.names(folder)}
    for seed in seeds:
        rng = random.Random(seed)
        name = rng.choice([*files, "hf-bert", "hf-clf"])
        if name in files:
            metadata, tensors = copy.deepcopy(files[name])
            said = mutating.mutated(metadata, tensors, rng)
            try:
                forging.sign(metadata, tensors, folder / "bad.safetensors")
            except (UserError, ValueError):  # not even a cheat can write it
                continue
            commands: tuple[str, ...] = mutating.commands(name)
        else:
            said, commands = mutating.directory(name, rng), mutating.HF
        for line in rng.sample(commands, min(lines, len(commands))):
            try:
                code = mutating.run(line, name)
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {name} with {said}: nlpkit {line}: {error!r}") from error
            assert code in (0, 1, 2, 3), f"seed {seed}: {name} with {said}: nlpkit {line}: exit code {code}"


@pytest.mark.parametrize("part", [0, 1, *(pytest.param(part, marks=pytest.mark.slow) for part in (2, 3))])
def test_wrong_content_behind_a_right_digest_is_an_error(
    honest: Path, part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(honest, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    feed(Path("."), range(75 * part, 75 * (part + 1)), lines=2)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(40))
def test_much_wrong_content_behind_right_digests_is_an_error(
    honest: Path, part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(honest, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    feed(Path("."), range(1000 + 100 * part, 1100 + 100 * part), lines=6)


def words_twice(meta: dict[str, Any], _: forging.Tensors) -> None:
    meta["config"]["words"][0] = meta["config"]["words"][1]


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (
            "tokens",
            lambda meta, tensors: tensors["sentence_ends"].__setitem__(0, 2**40),
            '"sentence_ends" does not ascend',
        ),
        ("tokens", lambda meta, tensors: tensors["sentence_ends"].__setitem__(-1, 2**40), "ends at 1,099,511,627,776"),
        (
            "tokens",
            lambda meta, tensors: tensors["document_ends"].__setitem__(0, -1),
            '"document_ends" does not ascend',
        ),
        (
            "tokens",
            lambda meta, tensors: tensors["tokens"].__setitem__(0, 60_000),
            "has the number 60,000, expected less",
        ),
        ("tokens", lambda meta, tensors: meta["config"].update(n_tokens=1), 'tensor "tokens" is U16'),
        ("tokens", lambda meta, tensors: tensors.pop("tokens"), 'without the tensor "tokens"'),
        ("tokens", lambda meta, tensors: meta.update(tokenizer=None), "a tokens file without a tokenizer"),
        ("tok", lambda meta, tensors: meta["tokenizer"]["special"].update(unk="nowhere"), "none of its pieces"),
        ("tok", lambda meta, tensors: meta["tokenizer"].update(pieces=7), 'has the "pieces" 7'),
        ("tok", lambda meta, tensors: meta["tokenizer"]["merges"].insert(0, ["a"]), "a list of pairs of texts"),
        ("tok-unigram", lambda meta, tensors: meta["tokenizer"]["scores"].pop(), "scores"),
        ("vec", lambda meta, tensors: meta["config"]["words"].append("x"), 'tensor "vectors" is F32'),
        ("vec", words_twice, "none is there twice"),
        ("vec", lambda meta, tensors: tensors["vectors"].__setitem__((0, 0), np.nan), "holds NaN or infinity"),
        ("counts", lambda meta, tensors: tensors["columns"].__setitem__(0, 60_000), "has the number 60,000"),
        ("counts", lambda meta, tensors: tensors["offsets"].__setitem__(0, 1), "does not begin at 0"),
        ("bert", lambda meta, tensors: meta["config"].update(n_layers=2**40), "n_layers is 1099511627776, expected a"),
        ("bert", lambda meta, tensors: meta["config"].update(dropout=1.5), "dropout is 1.5, expected 0 to less than 1"),
        ("clf", lambda meta, tensors: meta["config"]["task"].update(labels="abc"), "whose labels is a list of texts"),
        ("clf", lambda meta, tensors: meta["config"]["task"]["labels"].__setitem__(0, ""), "of which none is empty"),
        ("clf", lambda meta, tensors: meta["config"]["task"]["labels"].__setitem__(0, "\t"), "of which none is empty"),
        (
            "clf",
            lambda meta, tensors: meta["config"]["task"].update(labels=meta["config"]["task"]["labels"][:1] * 2),
            "of which none is there twice",
        ),
        ("clf", lambda meta, tensors: meta["config"]["task"].update(pooling="middle"), 'pooling "middle" is unknown'),
        ("bert", lambda meta, tensors: meta["config"].update(training=[]), 'its config has the "training" []'),
        ("emb", lambda meta, tensors: meta["config"].update(n_texts=1), 'tensor "embeddings" is F32'),
    ],
)
def test_what_is_wrong_is_named(
    honest: Path,
    name: str,
    change: forging.Change,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(honest)
    forging.forge(honest / f"{name}.safetensors", honest / "bad.safetensors", change)
    lines = {
        "clf": "predict X train.jsonl",
        "bert": "embed X text.txt",
        "emb": "info X",
        "counts": "vectors glove X -o O",
    }
    code = 1 if "NaN" in says else 2  # a training that diverged writes such a file too: it is none of a stranger's
    assert mutating.run(lines.get(name, mutating.commands(name)[0]), name) == code
    said = capsys.readouterr().err
    assert "bad.safetensors: " in said and says in said
