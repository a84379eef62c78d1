"""``resgat extract``: from videos to face crops and a manifest."""
