"""Uses of word vectors: neighbours, analogies, test sets, maps."""
