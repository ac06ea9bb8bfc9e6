"""What a run will need: parameters, memory, time."""
