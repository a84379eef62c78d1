"""The ``resgat`` command: names of commands, options, and messages about mistakes."""
