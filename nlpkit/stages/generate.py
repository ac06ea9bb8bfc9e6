"""nlpkit generate: continue a text, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.base import events, limits
from nlpkit.base.errors import UserError, refuse
from nlpkit.data import in_memory, labelled
from nlpkit.data.framing import framing
from nlpkit.data.in_memory import Texts
from nlpkit.data.readers import Row
from nlpkit.decoding.causal import Reader
from nlpkit.decoding.sampling import Logits, Sampling, draws, next_token
from nlpkit.decoding.text import Growing, find_stop, held_back
from nlpkit.machine.device import choose_device
from nlpkit.machine.threads import use_threads
from nlpkit.models.load import Loaded
from nlpkit.stages.streaming import ready
from nlpkit.tokenizers.base import Tokenizer

Hear = Callable[[str], None]


def generate(
    model: Path | Loaded,
    data: Path | Texts | None = None,
    *,
    prompt: str | None = None,
    text: str = "prompt",
    samples: int = 1,
    max_new_tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float | None = None,
    stop: Sequence[str] | None = None,
    on_error: str = "error",
    format: str | None = None,
    seed: int = 0,
    int8: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    hear: Hear = lambda part: None,
) -> Iterator[dict[str, Any]] | list[dict[str, Any]]:
    """One record for each continuation: ``prompt``, ``sample`` (from 0), ``text`` (without the prompt), ``tokens``
    (how many were chosen), ``finish``, ``seed``, and ``id`` where the prompt has one.

    The prompt is ``prompt``, or there is one in each row of ``data`` (read as `nlpkit.predict` reads it, column
    ``text``), which may be "-" for stdin; ``prompt`` "-" says the same. Or ``data`` is a list of prompts, and then the
    records are a list too. An empty prompt is the beginning of a document. ``finish`` is "end" (the end-of-text token),
    "stop" (one of the texts ``stop``, which is left out) or "length" (max_new_tokens). A text that outgrows the model's
    max_len goes on without its beginning. How a token is chosen: `nlpkit.decoding.sampling.Sampling`; each draw is a
    function of the seed and of the numbers of the prompt, the sample and the token, so that no continuation depends on
    the other requested ones. ``hear`` receives the text as it is generated, the prompt first; ``int8`` computes with
    int8 products (nlpkit/layers/int8.py). Errors: UserError for a model that cannot continue a text and for options
    without effect, at once, and for bad lines, after the prompts before them.
    """
    limits.check("generate", locals())
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
    if samples > 1 and sampling.greedy:
        raise UserError(
            f"with temperature 0 all {samples} continuations are the same", hint="--samples 1, or a temperature above 0"
        )
    if stop and not all(stop):
        raise UserError("a stop text is empty, and would stop everything", hint="--stop TEXT, repeatable")
    device = choose_device(device)
    loaded = ready(model, int8=int8, device=device)
    tokenizer = loaded.need_tokenizer()
    first = Reader(loaded, device=device)
    end = framing(loaded.family.framing, tokenizer).last
    writer = Writer(tokenizer, sampling, end, max_new_tokens, tuple(stop or ()), seed, hear)
    rows = prompts(data, prompt, text=text, on_error=on_error, format=format)

    def records() -> Iterator[dict[str, Any]]:
        forgot = False
        for number, row in enumerate(rows):
            prompt_text = row["text"]
            ids = tokenizer.encode(prompt_text).tolist() or [end]  # documents follow an end of text
            reader = first.copy()
            with use_threads(threads):
                logits = reader.read(ids)
            for sample in range(samples):
                branch = reader if sample == samples - 1 else reader.copy()
                hear(prompt_text)
                with use_threads(threads):
                    written = writer.write(branch, logits, Growing(tokenizer, ids), number, sample)
                yield {
                    **({"id": row["id"]} if "id" in row else {}),
                    "prompt": prompt_text,
                    "sample": sample,
                    **written,
                    "seed": seed,
                }
                if branch.start and not forgot:
                    forgot = True
                    events.note(
                        f"a text outgrew the {branch.max_len:,} tokens that the model reads; its beginning was "
                        "forgotten as it went on"
                    )

    return records() if data is None or isinstance(data, Path) else list(records())


def prompts(
    data: Path | Texts | None, prompt: str | None, *, text: str, on_error: str, format: str | None = None
) -> Iterator[Row]:
    """Rows with ``text``, a prompt each. Errors: two sources, a prompt that is not text, a source without prompts."""
    if prompt is not None and data is not None:
        raise UserError(
            "prompts are read from a file or given with --prompt, not both",
            where=data if isinstance(data, Path) else None,
        )
    if prompt is not None and prompt != "-":
        try:
            prompt.encode()
        except UnicodeEncodeError:
            raise UserError("is not UTF-8 text", where="--prompt") from None
    if data is not None and not isinstance(data, Path):
        return in_memory.rows(data, pairs=False)
    source = Path("-") if prompt == "-" else data
    if source is None:
        refuse({"format": format}, "no file of prompts is read")
        return iter([{"text": prompt or ""}])
    return _some(source, text, on_error, format)


def _some(source: Path, text: str, on_error: str, format: str | None) -> Iterator[Row]:
    count = 0
    for row in labelled.stream(source, text=text, on_error=on_error, format=format, named=text != "prompt"):
        count += 1
        yield row
    if not count:
        raise UserError(
            "holds no prompts",
            where="stdin" if str(source) == "-" else source,
            hint="a prompt a line; without a file the model begins a document of its own",
        )


@dataclass(frozen=True)
class Writer:
    """Continues texts, one at a time."""

    tokenizer: Tokenizer
    sampling: Sampling
    end: int
    max_new_tokens: int
    stops: tuple[str, ...]
    seed: int
    hear: Hear

    def write(self, reader: Reader, logits: Logits, growing: Growing, prompt: int, sample: int) -> dict[str, Any]:
        """Choose, read, choose: text, tokens and finish of one continuation. ``logits`` follow what was read."""
        seen = np.zeros(reader.vocab_size, bool)
        seen[reader.tokens] = True
        source = draws(self.seed, prompt, sample)
        text, shown, finish, tokens = "", 0, "length", 0
        while True:
            token = next_token(logits, seen, self.sampling, 0.0 if self.sampling.greedy else next(source))
            tokens += 1
            ended = token == self.end
            new = "" if ended else growing.add(token)
            if ended or tokens == self.max_new_tokens:
                new += growing.end()
            stop_at = find_stop(text + new, self.stops, len(text)) if new and self.stops else None
            text += new
            if stop_at is not None:
                text, finish = text[:stop_at], "stop"
            elif ended:
                finish = "end"
            last = stop_at is not None or ended or tokens == self.max_new_tokens
            certain = len(text) - (0 if last else held_back(text, self.stops))
            if certain > shown:
                self.hear(text[shown:certain])
                shown = certain
            if last:
                return {"text": text, "tokens": tokens, "finish": finish}
            seen[token] = True
            logits = reader.read([token])
