"""Event files for TensorBoard, written without it: a record is its length, a checksum, an Event message, a checksum.

The form is TensorFlow's record file (its core/lib/io/record_writer.h) with messages of its core/util/event.proto; a
few of their fields are enough. A wall time is the seconds of training in the log, counted from 1970, so the same log
gives the same bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from nlpkit.artifact import atomic
from nlpkit.base.errors import UserError
from nlpkit.reporting.chart import letter
from nlpkit.reporting.curves import along
from nlpkit.reporting.log import Logged
from nlpkit.reporting.sources import Sources

NAME = "events.out.tfevents.0000000000.nlpkit"
VERSION = b"brain.Event:2"
_UNSAFE = re.compile(r"[^\w.+-]")


def targets(sources: Sources, folder: Path, *, force: bool) -> dict[Path, Logged]:
    """The file of each run with a log, in a folder named after the run. Errors: no run has a log; the file exists and
    ``force`` is not set."""
    logs = {index: run for index, run in enumerate(sources.runs) if run.logged is not None and _curves(run.logged)}
    if not logs:
        raise UserError("--tensorboard changes nothing: no log has curves", hint="a command's --log writes one")
    by_target: dict[Path, Logged] = {}
    for index, run in logs.items():
        name = _UNSAFE.sub("_", run.title).lstrip(".") or f"run-{letter(index)}"
        target = folder / name / NAME
        if target in by_target:
            target = folder / f"{name}-{letter(index)}" / NAME
        assert run.logged is not None
        by_target[target] = run.logged
        if target.parent.exists():
            atomic.check_target(target, force=force)
    return by_target


def write(targets: Mapping[Path, Logged]) -> list[str]:
    """Write each run's events; returns the files."""
    for target, logged in targets.items():
        _make(target.parent)
        with atomic.writing(target) as file:
            for message in events(logged):
                file.write(record(message))
    return [str(target) for target in targets]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create this folder: {error.strerror}", where=folder) from None


def _curves(logged: Logged) -> dict[str, list[tuple[int, float]]]:
    """Every quantity by its name in the event file; training and held-out ones are separate groups."""
    train = {f"train/{name.replace(': ', '/')}": points for name, points in logged.curves.items() if points}
    return train | {f"dev/{name}": points for name, points in logged.dev.items() if points}


def events(logged: Logged) -> Iterator[bytes]:
    """The messages of a run: the version, then each value, by step."""
    yield _double(1, 0.0) + _bytes(3, VERSION)
    values = []
    for name, points in _curves(logged).items():
        times = along(points, "time", logged) if logged.seconds else [(float(step), 0.0) for step, _ in points]
        values += [(step, name, value, time) for (step, value), (time, _) in zip(points, times, strict=True)]
    for step, name, value, time in sorted(values):
        scalar = _bytes(1, name.encode("utf-8", "backslashreplace")) + _float(2, value)
        yield _double(1, time) + _integer(2, step) + _bytes(5, _bytes(1, scalar))


def record(message: bytes) -> bytes:
    """A message with its length and both checksums."""
    length = struct.pack("<Q", len(message))
    return length + struct.pack("<I", masked(length)) + message + struct.pack("<I", masked(message))


def _bytes(number: int, value: bytes) -> bytes:
    """A field that holds a text or a message."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    return bytes([number << 3 | 5]) + struct.pack("<f", value)


def _integer(number: int, value: int) -> bytes:
    return bytes([number << 3]) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _table() -> list[int]:
    """CRC-32C (polynomial 0x1EDC6F41, reflected), of each byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _table()


def masked(data: bytes) -> int:
    """CRC-32C, rotated and offset as record files require."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
