"""Pure functions from answers to numbers and their intervals."""
