"""What the demonstration shows of what was learnt, while it runs: nearest words, filled masks, predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nlpkit

WORDS = ("king", "love", "sword")
MASK = "[MASK]"
SENTENCES = ("My [MASK], I thank you.", "He is the [MASK] of Rome.", "He loves [MASK], fair lady.")
LIKELY = 200  # of so many likeliest pieces those words are shown that the sentence makes likelier


def nearest(vectors: Path, words: Sequence[str] = WORDS, k: int = 6) -> dict[str, list[str]]:
    """The nearest words of each word."""
    result = nlpkit.vectors_nearest(vectors, list(words), k=k)
    return {item["word"]: [near["word"] for near in item["words"]] for item in result["nearest"]}


def filled(model: Path, sentences: Sequence[str] = SENTENCES, k: int = 6) -> dict[str, list[str]]:
    """The words that the rest of each sentence makes likelier in place of its mask, those first that gain most.

    The likeliest pieces themselves are commas and pronouns everywhere, so the scores of a mask without a sentence are
    subtracted. Shape: V pieces.
    """
    import numpy as np
    import torch

    from nlpkit.data.batch import Wanted
    from nlpkit.data.framing import framing, pack
    from nlpkit.stages.streaming import ready
    from nlpkit.tokenizers.wordpiece import CONTINUATION

    loaded = ready(model, int8=False, device="cpu")
    tokenizer = loaded.need_tokenizer()
    frame = framing(loaded.family.framing, tokenizer)

    def scores(before: Sequence[int], after: Sequence[int]) -> torch.Tensor:
        framed = frame.frame([np.array([*before, tokenizer.role("mask"), *after])])
        position = torch.tensor([len(frame.before) + len(before)])
        with torch.inference_mode():
            output = loaded.model(pack([framed], [0], segments=frame.segments), wanted=Wanted(position))
            scores_V: torch.Tensor = output.heads["mlm"](output.at(position))[0]
        return scores_V

    def whole(piece: int) -> bool:
        return tokenizer.decode([piece]).strip().isalpha() and not tokenizer.pieces[piece].startswith(CONTINUATION)

    alone_V = scores([], [])
    gaining: dict[str, list[str]] = {}
    for sentence in sentences:
        before, after = (tokenizer.encode(part.rstrip()).tolist() for part in sentence.split(MASK))
        scores_V = scores(before, after)
        likely = scores_V.topk(min(LIKELY, len(scores_V))).indices
        order = (scores_V - alone_V)[likely].argsort(descending=True, stable=True)
        pieces = [piece for piece in likely[order].tolist() if piece not in {*before, *after} and whole(piece)]
        gaining[sentence] = [tokenizer.decode([piece]).strip() for piece in pieces[:k]]
    return gaining


def predicted(model: Path, data: Path, *, threads: int | None, n: int = 4, longest: int = 60) -> list[dict[str, str]]:
    """A few rows of ``data``, evenly spaced among those that fit in a line: text, label, and the model's prediction."""
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    short = [row for row in rows if longest / 2 < len(row["text"]) <= longest] or rows
    chosen = short[:: max(1, len(short) // n)][:n]
    records = nlpkit.predict(model, [row["text"] for row in chosen], threads=threads)
    return [{**row, "prediction": record["label"]} for row, record in zip(chosen, records, strict=True)]
