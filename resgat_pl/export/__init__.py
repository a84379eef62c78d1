"""A detector as one file, and the runtime of that file, which needs no torch."""
