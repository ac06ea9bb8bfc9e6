"""How a model is prepared before training: frozen parts, word vectors."""
