"""What more processes gain: measured with as many as this machine has cores, and modelled beyond.

    python benchmarks/scaling.py [--runs 3] [--steps 12] [--processes 2]
    python benchmarks/scaling.py --model

Pre-trains a BERT (4 x 256, sequences of 128, vocabulary 8,000, no dropout) with the same command in one process and in
several, each with one thread, in turn, and prints as JSON, median [least .. most] of the runs: the ratio of tokens per
second, that ratio a process (efficiency), the ratio of tokens per second of processor time (which a busy machine does
not change: it shows what is computed or copied more, and not what is waited for), and the share of a step that
process 0 spends in the exchange after its last backward.

``--model`` prints, by formula only, the efficiency of data parallelism for kinds of machines:

    compute   C = 6 n t / f            n weights, t tokens a process and step, f operations a second
    exchange  X = 2 (p - 1) / p 4 n / b    p processes, 4 bytes a weight, b bytes a second out of each process
    efficiency  C / (C + X)               nothing overlaps
                C / (C + X / 2 + max(0, X / 2 - 2 C / 3))   the all-to-all, half of X, runs beside the backward

n cancels: X / C = 4/3 (p - 1) / p f / (b t), so what counts is how many tokens a process has in a step. Assumed: all
processes are equally fast, no two share a link, latency is small beside X, the optimizer's time is left out (every
process does it all with ddp), and f is what is reached, not the peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

MACHINES = {  # f, b, tokens a process and step
    "a core at 80 GFLOP/s, 1 Gbit/s": (80e9, 0.125e9, 8192),
    "a core at 80 GFLOP/s, 10 Gbit/s": (80e9, 1.25e9, 8192),
    "32 cores (2 TFLOP/s), 10 Gbit/s": (2e12, 1.25e9, 32768),
    "a GPU at 100 TFLOP/s, 25 Gbit/s": (100e12, 3.125e9, 65536),
    "a GPU at 100 TFLOP/s, 100 Gbit/s": (100e12, 12.5e9, 65536),
    "a GPU at 100 TFLOP/s, NVLink at 200 GB/s": (100e12, 200e9, 65536),
}


def efficiency(f: float, b: float, t: float, p: int, *, overlap: bool) -> float:
    """Of ``p`` processes, by the formula above; in units of C."""
    x = 4 / 3 * (p - 1) / p * f / (b * t)
    return 1 / (1 + x / 2 + max(0.0, x / 2 - 2 / 3)) if overlap else 1 / (1 + x)


def model() -> None:
    print(f"{'efficiency, without and with overlap':48}" + "".join(f"{p:>14}" for p in (2, 8, 64)) + "  processes")
    for name, (f, b, t) in MACHINES.items():
        cells = [
            f"{efficiency(f, b, t, p, overlap=False):.2f} .. {efficiency(f, b, t, p, overlap=True):.2f}"
            for p in (2, 8, 64)
        ]
        print(f"{name:48}" + "".join(f"{cell:>14}" for cell in cells))


def work(folder: Path, steps: int, parallel: str | None) -> None:
    """One of the processes: trains, and keeps the time of each step but the first two."""
    import nlpkit
    from nlpkit.base import events
    from nlpkit.base.world import world
    from nlpkit.training.parallel import distributed, reduction

    seen: list[tuple[float, float, int]] = []
    exchanging = 0.0
    finish = reduction.Replicated.finish

    def timed(self: Any) -> None:
        nonlocal exchanging
        began = time.perf_counter()
        finish(self)
        exchanging += time.perf_counter() - began if len(seen) >= 2 else 0.0

    reduction.Replicated.finish = timed  # type: ignore[method-assign]

    def listener(record: dict[str, Any]) -> None:
        if record["event"] == "step":
            seen.append((time.perf_counter(), time.process_time(), record["tokens"]))

    with events.listen(listener):
        nlpkit.pretrain(
            [folder / "tokens.safetensors"],
            folder / "model.safetensors",
            size="mini",
            max_len=128,
            batch_tokens=8192,
            dropout=0.0,
            steps=steps + 2,
            log_every=1,
            save_every=10**9,
            force=True,
            fresh=True,
            threads=1,
            parallel=parallel,
        )
    (wall, cpu, _), (wall_end, cpu_end, _) = seen[1], seen[-1]
    cpus = sum(cpu for (cpu,) in distributed.gather([cpu_end - cpu]))
    if world().leads:
        tokens = sum(record[2] for record in seen[2:])
        print(
            json.dumps(
                {"wall": tokens / (wall_end - wall), "cpu": tokens / cpus, "exchange": exchanging / (wall_end - wall)}
            )
        )
    distributed.leave(together=True)
    sys.stdout.flush()
    os._exit(0)  # as nlpkit's own main does: gloo's threads may still hold tensors


def run(folder: Path, steps: int, processes: int, parallel: str | None) -> dict[str, float]:
    words = [str(Path(__file__).resolve()), "--work", str(folder), "--steps", str(steps)]
    words += ["--parallel", parallel] if parallel else []
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *(several if processes > 1 else []), *words],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(runs: int, steps: int, processes: int) -> None:
    import nlpkit

    found: dict[str, list[dict[str, float]]] = {"one": [], "ddp": [], "fsdp": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nlpkit.demo(folder, data_only=True)
        corpus = [folder / "corpus.txt"]
        nlpkit.tokenizer_train(corpus, folder / "tok.safetensors", kind="bpe", vocab_size=8000)
        nlpkit.tokens(corpus, folder / "tokens.safetensors", tokenizer=folder / "tok.safetensors")
        for _ in range(runs):
            for way, results in found.items():
                results.append(run(folder, steps, 1 if way == "one" else processes, None if way == "one" else way))

    def spread(values: list[float]) -> list[float]:
        return [round(value, 3) for value in (median(values), min(values), max(values))]

    result: dict[str, Any] = {"processes": processes, "load": os.getloadavg()[0], "one": found["one"]}
    for way in ("ddp", "fsdp"):
        pairs = list(zip(found[way], found["one"], strict=True))
        speedup = [several["wall"] / one["wall"] for several, one in pairs]
        result[way] = {
            "tokens_per_second": spread(speedup),
            "efficiency": spread([ratio / processes for ratio in speedup]),
            "tokens_per_cpu_second": spread([several["cpu"] / one["cpu"] for several, one in pairs]),
        }
        if way == "ddp":
            result[way]["exchange"] = spread([several["exchange"] for several, _ in pairs])
    print(json.dumps(result, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each kind, in turn")
    parser.add_argument("--steps", type=int, default=12, help="steps that are timed in a run")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--model", action="store_true", help="the formula only")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--parallel", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.steps, options.parallel)
    elif options.model:
        model()
    else:
        measure(options.runs, options.steps, options.processes)


if __name__ == "__main__":
    main()
