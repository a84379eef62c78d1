"""One part of each kind for resgat_pl, from a separate package."""
