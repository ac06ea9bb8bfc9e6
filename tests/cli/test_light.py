"""Commands that compute without torch do not import it: it costs seconds and hundreds of megabytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import forked
import toys

LINES = """
tokenizer train c.txt -o t.safetensors --kind word --vocab-size 20
tokens c.txt --tokenizer t.safetensors -o k.safetensors
tokenizer encode t.safetensors c.txt
tokenizer compare t.safetensors --text c.txt
vectors train c.txt -o v.safetensors --dim 8 --epochs 1
vectors cooccur c.txt -o n.safetensors
vectors glove n.safetensors -o g.safetensors --dim 8 --epochs 1
vectors nearest v.safetensors king
info v.safetensors
lineage v.safetensors
verify k.safetensors --chain
export v.safetensors -o v.txt --to word2vec
import v.txt -o i.safetensors
"""
PROGRAM = """
import sys
from nlpkit.cli import app
for line in sys.argv[1].strip().splitlines():
    assert app.run(line.split()) == 0, line
    heavy = {"torch", "gensim", "sklearn", "tokenizers"} & set(sys.modules)
    assert not heavy, f"{line} imports {sorted(heavy)}"
"""


def test_what_needs_no_torch_imports_none(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("the king and the queen\nof the land\n\n" * 60)
    done = subprocess.run([sys.executable, "-c", PROGRAM, LINES], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_only_computes_does_not_import_torchs_compiler(tmp_path: Path) -> None:
    """More than a second of each command that reads a model."""
    toys.model(tmp_path / "m")
    toys.texts(tmp_path / "train.jsonl", 10)
    first = "import atexit, sys; atexit.register(lambda: print('sympy' in sys.modules, file=sys.stderr))"
    for line in ("embed m train.jsonl", "finetune m train.jsonl -o clf --steps 1", "predict clf train.jsonl"):
        done = forked.run(*line.split(), "--threads", "1", cwd=tmp_path, first=first)
        assert done.returncode == 0 and done.stderr.splitlines()[-1] == "False", (line, done.stderr)
