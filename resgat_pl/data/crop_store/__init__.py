"""The bytes of crops: single files or tar shards, written once and read wherever they lie."""
