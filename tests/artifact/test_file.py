"""The artefact: canonical bytes, checked reading, atomic writing, and a reader that believes nothing."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit.artifact import atomic, file, safetensors
from nlpkit.base.errors import RunError, UserError

TENSORS = {
    "b.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.ids": np.array([1, 2, 3], np.uint16),
    "empty": np.zeros((0, 5), np.int64),
    "scalar": np.array(7, np.int64),
    "mask": np.array([True, False]),
}


def make(path: Path, tensors: dict[str, Any] | None = None, **config: Any) -> Path:
    file.write(
        path,
        TENSORS if tensors is None else tensors,
        kind="model",
        config={"d_model": 4, "ß": "ü", **config},
        provenance={"command": "test", "inputs": []},
        history={},
        determinism={},
    )
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make(tmp_path_factory.mktemp("good") / "x.safetensors").read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    artifact = file.read(make(tmp_path / "x.safetensors"))
    artifact.check()
    assert artifact.kind == "model" and artifact.config == {"d_model": 4, "ß": "ü"}
    for name, value in TENSORS.items():
        found = artifact.array(name)
        assert found.dtype == value.dtype and np.array_equal(found, value)
    with pytest.raises(ValueError):
        artifact.array("b.weight")[0, 0] = 1  # a file that was read is not written in


def test_bytes_do_not_depend_on_order_or_layout(tmp_path: Path) -> None:
    first = make(tmp_path / "a.safetensors").read_bytes()
    other = {name: TENSORS[name] for name in reversed(TENSORS)}
    other["b.weight"] = np.asfortranarray(other["b.weight"]).astype(">f4").astype("<f4")
    assert make(tmp_path / "b.safetensors", other).read_bytes() == first


def test_the_published_library_reads_it(tmp_path: Path) -> None:
    numpy_reader = pytest.importorskip("safetensors.numpy")
    found = numpy_reader.load_file(make(tmp_path / "x.safetensors"))
    assert set(found) == set(TENSORS)
    assert all(np.array_equal(found[name], value) for name, value in TENSORS.items())


def test_a_tensor_may_come_from_a_file(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "raw").write_bytes(TENSORS["b.weight"].tobytes())
    spooled = {**TENSORS, "b.weight": safetensors.FileTensor((tmp_path / "raw").open("rb"), np.dtype("<f4"), (3, 4))}
    assert make(tmp_path / "b.safetensors", spooled).read_bytes() == whole


def read_all(path: Path) -> Any:
    artifact = file.read(path)
    artifact.check()
    return artifact.metadata, {name: artifact.array(name).tobytes() for name in artifact.tensors}


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found(good: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    damaged = bytearray(good)
    damaged[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(damaged)
    with pytest.raises(UserError):
        read_all(path)


def test_every_bit_of_the_header_is_watched(good: bytes, tmp_path: Path) -> None:
    """Not a sample: each bit of the length, and one of each byte of the header."""
    path = tmp_path / "x.safetensors"
    length = struct.unpack("<Q", good[:8])[0]
    for bit in [*range(64), *range(64, 8 * (8 + length), 8)]:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << (bit % 8 if bit < 64 else bit // 8 % 8)
        path.write_bytes(damaged)
        with pytest.raises(UserError):
            read_all(path)


def test_any_truncation_is_found(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for size in [*range(0, len(good) - 1, 7), len(good) - 1]:
        path.write_bytes(good[:size])
        with pytest.raises(UserError):
            read_all(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(UserError, match="bytes, expected"):
        read_all(path)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_error_and_no_crash(data: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"nlpkit-fuzz-{os.getpid()}.safetensors"
    try:
        for content in (data, struct.pack("<Q", len(data)) + data):
            path.write_bytes(content)
            with pytest.raises(UserError):
                read_all(path)
    finally:
        path.unlink(missing_ok=True)


def header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode() + data


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (b"\x80\x04\x95", "3 bytes"),
        (pickle.dumps({"weights": [1.0] * 100}), "not a valid safetensors file"),
        (struct.pack("<Q", 2**63), "claims"),
        (header("[]"), "not a JSON object"),
        (header("{" * 5000), "not JSON"),
        (header("[" * 100_000), "not JSON"),
        (header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}', b"\0" * 4), "stands twice"),
        (header('{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4), 'unknown type "F31"'),
        (header('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"\0" * 4), "valid shape"),
        (header('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', b"\0" * 4), "valid shape"),
        (header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', b"\0" * 4), "its shape needs 8"),
        (header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"\0" * 8), "begins at byte"),
        (header('{"a":{"dtype":"U8","shape":[9999999999,9999999999,9999999999],"data_offsets":[0,0]}}'), "needs"),
        (header('{"__metadata__":{"nlpkit":1}}'), "not a map of texts"),
        (header('{"__metadata__":{"format":"pt"}}'), "not one of nlpkit's"),
        (header('{"__metadata__":{"nlpkit":"[]"}}'), "not an object"),
        (header('{"__metadata__":{"nlpkit":"{\\"format\\":99}"}}'), "has format 99"),
        (header('{"__metadata__":{"nlpkit":"{\\"format\\":1}"}}'), 'no valid "kind"'),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_all(path)
    assert str(path) in str(caught.value)


def test_a_forged_header_needs_the_digest(tmp_path: Path) -> None:
    """Metadata that is valid JSON but was edited by hand."""
    path = make(tmp_path / "x.safetensors")
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    parsed = json.loads(data[8 : 8 + length])
    parsed["__metadata__"]["nlpkit"] = parsed["__metadata__"]["nlpkit"].replace('"d_model":4', '"d_model":8')
    path.write_bytes(header(json.dumps(parsed), data[8 + length :]))
    with pytest.raises(UserError, match="does not have the bytes"):
        read_all(path)


def test_kinds_are_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a model file; expected tokens"):
        file.read(make(tmp_path / "x.safetensors"), kind="tokens")
    with pytest.raises(UserError, match="no tensor"):
        file.read(tmp_path / "x.safetensors").array("nothing")
    with pytest.raises(UserError, match="No such file"):
        file.read(tmp_path / "y.safetensors")
    with pytest.raises(UserError, match="is a directory, expected a file of nlpkit"):
        file.read(tmp_path)


def test_values_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        make(tmp_path / "x.safetensors", lr=float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_targets_are_checked_before_the_work(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("x")
    for path, force, says in (
        (there, False, "exists already"),
        (tmp_path, True, "is a folder"),
        (Path("/dev/null"), True, "not an ordinary file"),
        (tmp_path / "no" / "x", False, "does not exist"),
    ):
        with pytest.raises(UserError, match=says):
            atomic.check_target(path, force=force)
    atomic.check_target(there, force=True)
    if os.geteuid() != 0:
        os.chmod(tmp_path, 0o500)
        with pytest.raises(UserError, match="not writable"):
            atomic.check_target(tmp_path / "x", force=False)
        os.chmod(tmp_path, 0o700)


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic.writing(target) as handle:
        handle.write(b"half")
        raise KeyboardInterrupt
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]


def limited(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that cannot write a file of more than 20 kB, which is what a full disk looks like."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("some words in a text\n" * 9000)
    (tmp_path / "x.safetensors").write_text("before")
    script = (
        "from nlpkit.cli.app import main\n"
        "main('tokenizer train corpus.txt -o x.safetensors --kind word --min-count 1 --force'.split())"
    )
    (tmp_path / "corpus.txt").write_text("\n".join(f"word{number}" for number in range(9000)))
    found = limited(script, tmp_path)
    assert found.returncode == 1, found.stderr
    assert (
        "cannot write: File too large; nothing half-written was left behind" in found.stderr
        and "Traceback" not in found.stderr
    )
    assert sorted(item.name for item in tmp_path.iterdir()) == ["corpus.txt", "x.safetensors"]
    assert (tmp_path / "x.safetensors").read_text() == "before"


def test_disk_errors_have_their_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def failing(number: int) -> Any:
        def fsync(handle: int) -> None:
            raise OSError(number, os.strerror(number))

        return fsync

    for number, kind in ((errno.ENOSPC, RunError), (errno.EDQUOT, RunError), (errno.EROFS, UserError)):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(number))
            with pytest.raises(kind):
                make(tmp_path / "x.safetensors")
        assert list(tmp_path.iterdir()) == []


def test_killed_while_writing_there_is_no_target(tmp_path: Path) -> None:
    script = (
        "import numpy as np, sys, pathlib\nfrom nlpkit.artifact import atomic\n"
        "with atomic.writing(pathlib.Path('x.safetensors')) as f:\n"
        "    print('writing', flush=True)\n    while True: f.write(b'0' * 4096)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "x.safetensors").exists()
    make(tmp_path / "x.safetensors")  # what was left is overwritten
    assert [item.name for item in tmp_path.iterdir()] == ["x.safetensors"]
