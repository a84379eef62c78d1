"""One part of each kind for resgat_pl, from a package of its own."""
