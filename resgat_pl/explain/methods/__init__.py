"""Explanation methods, one file a family; all subclass ``Explainer``."""
