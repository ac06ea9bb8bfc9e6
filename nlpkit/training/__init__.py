"""The training loop and what it uses: optimizers, schedules, precision, resume state, several processes."""
