"""One file a command: the plain function behind it."""
