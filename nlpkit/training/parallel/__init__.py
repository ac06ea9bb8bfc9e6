"""Training in several processes: parts of a batch, sums along a tree, shards."""
