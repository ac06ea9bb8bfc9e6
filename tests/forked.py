"""The program in a process of its own that costs a fork and not the start of Python: what it imports is imported once,
by a process that all tests of a worker share and that forks one for each call.

For tests of signals, terminals, limits and full streams. What an import may see (a hash seed, portable mode, an
interrupt while modules are loaded) needs ``python -m nlpkit``.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

IMPORTED = "nlpkit.cli.app nlpkit.stages.pretrain nlpkit.stages.finetune nlpkit.stages.verify nlpkit.stages.embed torch"


class Program:
    """A command line that runs: ``pid`` leads a process group. Streams are file descriptors; stdin is empty, and what
    is said on others is kept, unless they are given. ``first`` is code that its process runs before."""

    def __init__(
        self,
        *words: str,
        cwd: Path | None = None,
        first: str = "",
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        **environment: str,
    ) -> None:
        self._kept = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - until somebody has read them
        kept = [file.fileno() for file in self._kept]
        asked = {
            "words": words,
            "cwd": str(cwd or os.getcwd()),
            "first": first,
            "environment": {**os.environ, **environment},
        }
        with open(os.devnull) as empty:
            streams = [empty.fileno() if stdin is None else stdin, *kept]
            streams[1:] = [kept[0] if stdout is None else stdout, kept[1] if stderr is None else stderr]
            reading, writing = os.pipe()
            socket.send_fds(_server(), [json.dumps(asked).encode()], [*streams, writing])
            os.close(writing)
        self._ended = open(reading)  # noqa: SIM115 - until it has ended
        self.pid = int(self._ended.readline())

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        with self._ended:
            return int(self._ended.readline())

    def said(self) -> tuple[str, str]:
        """What it has written to stdout and stderr."""

        def text(file: IO[bytes]) -> str:
            file.seek(0)
            return file.read().decode()

        return text(self._kept[0]), text(self._kept[1])


def run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """The command line from its begin to its end."""
    program = Program(*words, **more)
    return subprocess.CompletedProcess(words, program.wait(), *program.said())


@functools.cache
def _server() -> socket.socket:
    """Ends when this process does, because the connection does then."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, __file__, str(theirs.fileno())]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True, **quiet)  # type: ignore[call-overload]
    return ours


def serve(connection: socket.socket) -> None:
    """Fork for each request; comes back in the process that shall run it, and when there are no more."""
    for name in IMPORTED.split():
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, handles, _, _ = socket.recv_fds(connection, 1 << 20, 4)
        if not request:
            return
        if os.fork() == 0:
            break
        for handle in handles:
            os.close(handle)
    connection.close()
    *streams, status = handles
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        os.write(status, f"{pid}\n".encode())
        os.write(status, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
        os._exit(0)
    os.close(status)
    os.setsid()
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, buffering, errors=errors, closefd=False)
        for number, mode, buffering, errors in ((0, "r", -1, None), (1, "w", -1, None), (2, "w", 1, "backslashreplace"))
    )
    asked = json.loads(request)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["cwd"])
    sys.argv = ["nlpkit", *asked["words"]]
    exec(asked["first"], {})
    from nlpkit.__main__ import main

    main()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
