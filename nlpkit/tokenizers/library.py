"""The only access to the tokenizers library: documents are checked before it reads them; its errors become ours."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

from nlpkit.base.errors import UserError
from nlpkit.tokenizers import document as documents

LIBRARY = "tokenizers"


class guarded:
    """``with guarded(what):`` calls of the library. Its errors are bare exceptions, or panics of the language it is
    written in, which no class of its own distinguishes; here, and only here, they become a UserError."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is Exception or (kind is not None and kind.__module__ == "pyo3_runtime"):
            raise UserError(f"{self.what}: {str(error).strip()[:200]}") from None


def open_library(text: str) -> Any:
    """The library's tokenizer of a document, without framing, truncation and padding. Errors: UserError."""
    # Several cores are used by processes of ours (--threads); threads of the library would come on top. It reads
    # the variable at each call.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers

    document = documents.parse(text)
    with guarded("the tokenizers library cannot read it"):
        return tokenizers.Tokenizer.from_str(documents.core(document))
