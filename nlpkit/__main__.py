"""python -m nlpkit, and the command nlpkit.

An interrupt is answered from here on, while the rest is imported too: nothing has been done then, so the process ends.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress


def main() -> None:
    """Run the program."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    from nlpkit.cli.app import main as program

    program()


def _end(number: int, frame: object) -> None:
    with suppress(OSError):  # whoever read this may be gone
        os.write(2, b"error: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
