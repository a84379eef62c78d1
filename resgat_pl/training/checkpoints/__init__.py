"""Checkpoints of runs: written safely, found again, and continued from."""
