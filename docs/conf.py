"""Sphinx configuration: Markdown pages by MyST, the API by autodoc and napoleon, the theme furo.

``make docs`` builds into ``docs/_build``; warnings are errors.
"""

import re
from importlib.metadata import version as installed

from sphinx.application import Sphinx

project = "resgat_pl"
author = "The resgat_pl authors"
copyright = "The resgat_pl authors, MIT licence"  # noqa: A001 - Sphinx's name
release = installed("resgat-pl")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build"]
smartquotes = False  # -- is the beginning of an option

myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # else attributes of dataclasses are described twice
napoleon_use_rtype = False

html_theme = "furo"
html_title = "resgat_pl"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Sphinx) -> None:
    """Read |x| in docstrings as an absolute value, which reStructuredText takes for a substitution."""
    app.connect("autodoc-process-docstring", _escape_bars, priority=100)


def _escape_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    for at, line in enumerate(lines):
        parts = line.split("``")  # every second one is code
        parts[::2] = [re.sub(r"\|([^|]+)\|", r"\\|\1\\|", part) for part in parts[::2]]
        lines[at] = "``".join(parts)
