"""Detection metrics per frame and per video."""
