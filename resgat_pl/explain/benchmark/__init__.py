"""``resgat benchmark-explainers``: scores of explanation methods on the same faces."""
