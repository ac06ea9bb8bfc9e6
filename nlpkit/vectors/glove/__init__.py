"""Co-occurrence counts and GloVe."""
