"""From videos on disk to batches: index, extract, manifest, split, transform."""

from resgat_pl import opencv

opencv.require()
