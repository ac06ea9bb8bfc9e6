"""What every room stands on: errors, events, seeds, processes. No torch, no numba."""
