"""The training loop (one) and what it stands on: optimizer, schedules, resume state, stopping."""
