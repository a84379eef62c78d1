"""resgat study: pages for a user study of the maps, and the analysis of its answers."""

from __future__ import annotations
