"""The table of crops: one row per crop, its schema, reading, validation and cache."""
