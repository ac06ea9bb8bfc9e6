"""Word vectors: train, query, evaluate, and the files of other tools.

An engine (``METHODS``) learns from ids on disk and knows nothing else; a new one is one module with ``libraries`` and
``train`` (`nlpkit.vectors.base.Engine`) and its name here.
"""

from __future__ import annotations

# Method -> the module of the engine that learns it.
METHODS: dict[str, str] = {
    "skipgram": "nlpkit.vectors.engine_gensim",
    "cbow": "nlpkit.vectors.engine_gensim",
}
# Loss -> what it is (Mikolov et al. 2013b, sections 2.1 and 2.2).
LOSSES: dict[str, str] = {"ns": "negative sampling", "hs": "hierarchical softmax"}
