"""The demonstration: the whole chain on Shakespeare."""
