"""Earlier place of torchvision's encoders, under which older code and configurations name them."""

from resgat_pl.nn.encoders.torchvision_cnns import ENCODERS as ENCODERS, Encoder as Encoder
