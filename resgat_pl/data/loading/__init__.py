"""Crops as batches: torch data sets, samplers, worker processes, and loaders that a run can resume."""
