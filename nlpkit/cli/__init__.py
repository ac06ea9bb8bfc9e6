"""What a person types: one thin file per command, which parses, calls, prints and exits."""
