"""Event files, read back by a reader of the tests' own: lengths, checksums, messages."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.reporting import tensorboard

SPEED = {"tokens": 10, "tokens_per_second": 5}


def crc32c(data: bytes) -> int:
    """Bit by bit, as the definition is."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def unmasked(value: int) -> int:
    turned = (value - 0xA282EAD8) & 0xFFFFFFFF
    return (turned >> 17 | turned << 15) & 0xFFFFFFFF


def fields(message: bytes) -> list[tuple[int, Any]]:
    """(number, value) of a message's fields."""
    found, place = [], 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        key = varint()
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            found.append((key >> 3, varint()))
            continue
        size = varint() if size is None else size
        raw = message[place : place + size]
        place += size
        value = struct.unpack("<d" if size == 8 else "<f", raw)[0] if key & 7 in (1, 5) else raw
        found.append((key >> 3, value))
    return found


def read(path: Path) -> list[dict[int, Any]]:
    data, found = path.read_bytes(), []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        message = data[12 : 12 + length]
        assert unmasked(check) == crc32c(data[:8])
        assert unmasked(struct.unpack("<I", data[12 + length : 16 + length])[0]) == crc32c(message)
        found.append(dict(fields(message)))
        data = data[16 + length :]
    return found


def log(path: Path, output: str = "m.safetensors") -> Path:
    records: list[dict[str, Any]] = [
        {"event": "training", "command": "pretrain", "output": output, "step": 0, "steps": 300},
        {"event": "step", "step": 100, "loss": 2.5, "losses": {"mlm": 2.0, "nsp": 0.5}, **SPEED},
        {"event": "step", "step": 300, "loss": 1.5, "losses": {"mlm": 1.0, "nsp": 0.5}, **SPEED},
        {"event": "evaluation", "step": 200, "metrics": {"dev_mlm_loss": 1.25}, "score": -1.25, "best": True},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_the_checksum_is_the_published_one() -> None:
    """RFC 3720, B.4: of 32 zeros, of 32 ones, of 0 to 31."""
    known = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    assert {data: unmasked(tensorboard.masked(data)) for data in known} == known


def test_every_value_is_read_back(tmp_path: Path) -> None:
    (name,) = nlpkit.report([log(tmp_path / "l.jsonl")], tensorboard=tmp_path / "t")["tensorboard"]
    assert Path(name) == tmp_path / "t" / "m" / tensorboard.NAME
    first, *rest = read(Path(name))
    assert first == {1: 0.0, 3: b"brain.Event:2"}
    found = {}
    for event in rest:
        value = dict(fields(dict(fields(event[5]))[1]))
        found[value[1].decode(), event[2]] = (value[2], event[1])
    assert found["train/loss", 300] == (1.5, 4.0) and found["train/loss/mlm", 100] == (2.0, 2.0)
    assert found["dev/dev_mlm_loss", 200] == (1.25, 3.0) and len(found) == 9
    assert [event[2] for event in rest] == sorted(event[2] for event in rest)


def test_the_same_log_gives_the_same_bytes_and_is_overwritten_by_force(tmp_path: Path) -> None:
    source = log(tmp_path / "l.jsonl")
    (name,) = nlpkit.report([source], tensorboard=tmp_path / "t")["tensorboard"]
    before = Path(name).read_bytes()
    with pytest.raises(UserError, match="exists already"):
        nlpkit.report([source], tensorboard=tmp_path / "t")
    nlpkit.report([source], tensorboard=tmp_path / "t", force=True)
    assert Path(name).read_bytes() == before


@pytest.mark.parametrize("output", ["../../../m.safetensors", "..", "/", ".hidden", "a\x00b", "x y\n", ""])
def test_no_name_leaves_the_folder(tmp_path: Path, output: str) -> None:
    (tmp_path / "in").mkdir()
    names = nlpkit.report([log(tmp_path / "l.jsonl", output)], tensorboard=tmp_path / "in" / "t")["tensorboard"]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    assert [str(path) for path in files] == names and files[0].parents[1] == tmp_path / "in" / "t"


def test_two_runs_of_one_name_have_two_folders(tmp_path: Path) -> None:
    one, other = log(tmp_path / "1.jsonl"), log(tmp_path / "2.jsonl")
    other.write_text(other.read_text().replace("2.5", "2.75"))
    names = nlpkit.report([one, other], tensorboard=tmp_path / "t")["tensorboard"]
    assert [Path(name).parent.name for name in names] == ["m", "m-B"]
