"""How a model is prepared before it learns: frozen parts, word vectors."""
