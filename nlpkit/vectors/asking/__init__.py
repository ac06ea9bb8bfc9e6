"""Word vectors in use: neighbours, analogies, test sets, maps."""
