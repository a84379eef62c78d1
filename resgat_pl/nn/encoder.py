"""Earlier place of torchvision's encoders, under which older code and configurations name them."""

from resgat_pl.nn.encoders.torchvision_cnns import ENCODERS, Encoder

__all__ = ["ENCODERS", "Encoder"]
