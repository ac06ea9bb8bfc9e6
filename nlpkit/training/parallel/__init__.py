"""Several processes: parts, trees of sums, shards."""
