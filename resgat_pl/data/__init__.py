"""From videos on disk to batches: index, extract, manifest, split, transform."""
