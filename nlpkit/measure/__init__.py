"""Pure functions from predictions to metrics and their intervals."""
