"""Word vectors: train, query, evaluate, and the files of other tools."""

from __future__ import annotations

# Method of `nlpkit vectors train` -> what predicts what (Mikolov et al. 2013a, section 3).
METHODS: dict[str, str] = {
    "skipgram": "a word predicts those around it",
    "cbow": "the words around predict the one in the middle",
}
# Loss -> what it is (Mikolov et al. 2013b, sections 2.1 and 2.2; Mnih and Teh 2012).
LOSSES: dict[str, str] = {
    "ns": "negative sampling",
    "nce": "noise-contrastive estimation",
    "hs": "hierarchical softmax",
}
