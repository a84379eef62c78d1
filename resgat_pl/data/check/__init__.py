"""``resgat check``: the audit of a data set."""
