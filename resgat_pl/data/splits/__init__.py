"""Train, validation and test: the protocols that divide videos, and the leaks between their parts."""
