"""Loggers that do not stop a training."""
