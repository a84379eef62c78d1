"""Errors, records, files, processes and text that know nothing of faces: what every other room stands on."""
