"""The mathematics of ResGAT as plain ``torch.nn.Module`` objects, usable without Lightning."""
