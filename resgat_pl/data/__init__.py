"""From videos on disk to batches: index, extract, manifest, split, transform."""

from resgat_pl.core import opencv_version as opencv

opencv.require()
