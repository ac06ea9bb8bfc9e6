"""word2vec: rounds of units on any number of threads."""
