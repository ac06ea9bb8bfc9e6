"""Run a command and say, as JSON on stdout, what its process took: seconds (wall, processor) and its greatest memory.

    python -S benchmarks/measured.py COMMAND...

A process of its own, because Linux counts into a child's peak what its parent held when it was forked: this one holds
next to nothing. What the command prints on stdout is dropped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> None:
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    print(json.dumps({"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}))
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
