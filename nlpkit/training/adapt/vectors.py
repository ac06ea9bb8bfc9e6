"""The token embeddings of a new model begin as word vectors, of a file (``pretrain --vectors``) or of its own text.

Rows are the vectors themselves, not scaled: the model starts from exactly their bits, which can be compared, and scaled
to less they are soon overwritten. Vectors that are narrower than the embeddings are their first columns.
Shapes: P pieces, V words, D width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.models.base import Model
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.vectors import pieces as own
from nlpkit.vectors.file import Vectors, load

TABLE = "embeddings.token.weight"  # in every family that has one row for each piece

Ids = NDArray[np.int64]


def begin_with_word2vec(network: Model, files: TokenFiles, seed: Address, target: Path) -> None:
    """Give every frequent piece a vector that is learnt from the text itself (`nlpkit.vectors.pieces`); the others keep
    their random initial values.

    Errors: a UserError when no two pieces are frequent enough; OSError when the disk is full.
    """
    table = _table(network)
    pieces, vectors = own.learn(files, table.shape[1], seed, target)
    with torch.no_grad():
        table[torch.from_numpy(pieces).long()] = torch.from_numpy(vectors)
    size = files.tokenizer.vocab_size
    events.note(f"{len(pieces):,} of {size:,} pieces begin with a word vector of this text (--embeddings word2vec)")


def seconds_of_word2vec(network: Model, files: TokenFiles) -> float:
    """An estimate of the seconds that `begin_with_word2vec` takes. Errors: its UserError."""
    return own.seconds(files, _table(network).shape[1])


def begin_with_vectors(network: Model, tokenizer: Tokenizer, path: Path) -> None:
    """Give every piece that has a vector its vector; the others, and columns beyond the vector's width, keep their
    random initial values.

    Errors: a UserError for vectors that are wider than the embeddings, and when no piece has one.
    """
    vectors, table = load(path), _table(network)
    width = vectors.vectors.shape[1]
    if width > table.shape[1]:
        raise UserError(
            f"has vectors of width {width}, and the model's embeddings have {table.shape[1]}",
            where=path,
            hint=f"--d-model {width} where the family's embeddings are as wide as it is, or "
            f"nlpkit vectors train --dim {table.shape[1]}",
        )
    pieces, rows = matches(tokenizer, vectors)
    if not len(pieces):
        what = f"none of its {len(vectors.words):,} words is one of the tokenizer's {tokenizer.vocab_size:,} pieces"
        raise UserError(what, where=path, hint="nlpkit vectors train --tokenizer learns vectors of pieces")
    with torch.no_grad():
        table[torch.from_numpy(pieces), :width] = torch.from_numpy(np.array(vectors.vectors[rows], np.float32))
    events.note(f"{len(pieces):,} of {tokenizer.vocab_size:,} pieces begin with a vector of {path.name}")


def _table(network: Model) -> torch.nn.Parameter:
    """The token embeddings. Errors: UserError for a family that has none."""
    table = dict(network.named_parameters()).get(TABLE)
    if table is None:
        raise UserError(f'model "{network.family}" has no embedding for each piece that vectors could begin')
    return table


def matches(tokenizer: Tokenizer, vectors: Vectors) -> tuple[Ids, Ids]:
    """The ids of the pieces that have a vector, and its row: [n], [n].

    Vectors of a tokenizer's pieces belong to the pieces of the same spelling. A word's vector belongs to the piece that
    the tokenizer writes for the word alone, at the beginning of a text and behind a space; if several words are the
    same piece (it has no capitals, say), to the first, the most frequent. Special pieces have none.
    """
    special = {tokenizer.ids[piece] for piece in tokenizer.special.values()}
    rows_by_piece: dict[int, int] = {}
    if vectors.tokenizer is not None:
        rows_by_piece = {tokenizer.ids[word]: row for word, row in vectors.ids.items() if word in tokenizer.ids}
    else:
        for before in ("", " "):
            spelt = tokenizer.encode_batch([before + word for word in vectors.words])
            for row, ids in enumerate(spelt):
                if len(ids) == 1:
                    rows_by_piece.setdefault(int(ids[0]), row)
    pieces = np.array(sorted(set(rows_by_piece) - special), np.int64)
    return pieces, np.array([rows_by_piece[piece] for piece in pieces.tolist()], np.int64)
