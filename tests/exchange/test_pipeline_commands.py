"""A tokenizer that the library runs, through the commands: what it says is in every file, and comes out as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from directories import modernbert

import nlpkit
from nlpkit.artifact import file
from nlpkit.exchange.export import export
from nlpkit.exchange.opening import load
from nlpkit.exchange.tokenizer_opening import load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "tok").mkdir()
    modernbert(folder / "tok")
    (folder / "tok" / "config.json").unlink()
    (folder / "corpus.txt").write_text("".join(f"the cat sat on mat {number} <date>\n\n" for number in range(40)))
    rows = [{"text": f"the cat {number}", "label": "ab"[number % 2]} for number in range(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    nlpkit.import_(folder / "tok", folder / "tok.safetensors")
    nlpkit.tokens([folder / "corpus.txt"], folder / "t.safetensors", tokenizer=folder / "tok.safetensors")
    nlpkit.pretrain([folder / "t.safetensors"], folder / "m.safetensors", model="bert", steps=1, max_len=32)
    nlpkit.finetune(folder / "m.safetensors", folder / "rows.jsonl", folder / "c.safetensors", steps=1)
    return folder


def test_every_file_holds_the_tokenizer_and_the_version_of_the_library(folder: Path) -> None:
    expected = load_tokenizer(folder / "tok").fingerprint
    for name in ("tok", "t", "m", "c"):
        path = folder / f"{name}.safetensors"
        assert load_tokenizer(path).fingerprint == expected
        assert "tokenizers" in file.read(path).provenance["versions"]


def test_a_directory_gives_the_same_token_file_as_the_import(folder: Path) -> None:
    nlpkit.tokens([folder / "corpus.txt"], folder / "again.safetensors", tokenizer=folder / "tok")
    assert (
        file.read(folder / "again.safetensors").array("tokens") == file.read(folder / "t.safetensors").array("tokens")
    ).all()


def test_predictions_are_the_same_from_the_export_whose_tokenizer_is_the_file_that_came(folder: Path) -> None:
    shutil.rmtree(folder / "out", ignore_errors=True)
    export(folder / "c.safetensors", folder / "out")
    assert (folder / "out" / "tokenizer.json").read_bytes() == (folder / "tok" / "tokenizer.json").read_bytes()
    assert load(folder / "out").need_tokenizer().special == load(folder / "c.safetensors").need_tokenizer().special
    ours, theirs = (
        list(nlpkit.predict(path, folder / "rows.jsonl")) for path in (folder / "c.safetensors", folder / "out")
    )
    assert ours == theirs


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux tells them")
def test_the_library_starts_no_threads_of_its_own(folder: Path) -> None:
    """--threads says how many cores are used; a person's TOKENIZERS_PARALLELISM does not."""
    script = (
        "import os, sys; from pathlib import Path; from nlpkit.exchange.tokenizer_opening import load_tokenizer\n"
        "made = load_tokenizer(Path(sys.argv[1])); before = len(os.listdir('/proc/self/task'))\n"
        "made.encode_batch(['the cat sat on the mat'] * 2000)\n"
        "print(made.kind, len(os.listdir('/proc/self/task')) - before)"
    )
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": "4"}
    run = [sys.executable, "-c", script, str(folder / "tok.safetensors")]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pipeline", "0"]
