"""How good a trained detector is, and where the number comes from."""
