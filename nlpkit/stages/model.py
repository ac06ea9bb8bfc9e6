"""A model for notebooks: what `nlpkit.load` returns, with methods that compute what the commands do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from nlpkit.data.in_memory import Texts
from nlpkit.exchange import opening
from nlpkit.models.load import Loaded
from nlpkit.stages.embed import Vectors, embed
from nlpkit.stages.generate import generate
from nlpkit.stages.predict import predict


@dataclass(frozen=True, repr=False)
class LoadedModel(Loaded):
    """A model that was read, in eval mode: ``model`` (the torch module), ``tokenizer``, ``family``, ``config`` and
    ``path``.

    `predict`, `embed` and `generate` are the functions of these names: the numbers are those of the command line to
    the bit. They compute with a copy of the module, so that the module itself can be inspected, changed and trained.
    """

    def predict(
        self,
        texts: Texts,
        *,
        max_len: int | None = None,
        batch_tokens: int = 4096,
        int8: bool = False,
        device: str = "cpu",
        threads: int | None = None,
    ) -> list[dict[str, Any]]:
        """``label`` and ``probabilities`` of each text, or pair of texts (`nlpkit.predict`)."""
        records = predict(
            self, texts, max_len=max_len, batch_tokens=batch_tokens, int8=int8, device=device, threads=threads
        )
        return list(records)

    def embed(
        self,
        texts: Texts,
        *,
        pooling: str | None = None,
        layer: int | None = None,
        normalize: bool | None = None,
        max_len: int | None = None,
        batch_tokens: int = 4096,
        int8: bool = False,
        device: str = "cpu",
        threads: int | None = None,
    ) -> Vectors:
        """A vector for each text, as one array [n, d_model] (`nlpkit.embed`)."""
        vectors = embed(
            self,
            texts,
            pooling=pooling,
            layer=layer,
            normalize=normalize,
            max_len=max_len,
            batch_tokens=batch_tokens,
            int8=int8,
            device=device,
            threads=threads,
        )
        return cast(Vectors, vectors)

    def generate(
        self,
        prompt: str | Texts = "",
        *,
        samples: int = 1,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: Sequence[str] | None = None,
        seed: int = 0,
        int8: bool = False,
        device: str = "cpu",
        threads: int | None = None,
    ) -> list[dict[str, Any]]:
        """``samples`` continuations of a prompt, or of each of a list of prompts: ``text``, ``finish`` and the rest
        (`nlpkit.generate`)."""
        prompts = [prompt] if isinstance(prompt, str) else prompt
        records = generate(
            self,
            prompts,
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            stop=stop,
            seed=seed,
            int8=int8,
            device=device,
            threads=threads,
        )
        return list(records)

    def refresh(self) -> None:
        """Copy the module anew for the next answer; for changes that cannot be seen (docs/python.md)."""
        self._inference.clear()

    def __repr__(self) -> str:
        shape = self.model.config
        heads = [name for name in self.model.heads if name != "classify"]
        if task := self.config.get("task"):
            heads.append(f"classify ({_few(list(task['labels']))})")
        pieces = None if self.tokenizer is None else f"{self.tokenizer.kind} of {self.tokenizer.vocab_size:,} pieces"
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        lines = {
            "parameters": f"{parameters:,}",
            "heads": ", ".join(heads) or "none",
            "tokenizer": pieces or "none",
            "path": str(self.path),
        }
        title = f"{self.family.title}, {shape.n_layers} layers x {shape.d_model}, sequences to {shape.max_len} tokens"
        return "\n".join([title, *(f"  {name:<11} {value}" for name, value in lines.items())])


def _few(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... {len(names):,} labels"


def load(path: str | Path) -> LoadedModel:
    """Open a model file or a Hugging Face directory. Errors: UserError naming the first thing that does not fit."""
    loaded = opening.load(path)
    return LoadedModel(**{item.name: getattr(loaded, item.name) for item in fields(loaded)})
