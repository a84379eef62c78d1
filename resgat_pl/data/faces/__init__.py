"""Faces in frames: detecting them, and following each person through a video."""
