"""What every package uses: errors, events, seeds, processes. No torch, no numba."""
