"""How Sphinx builds the site from these pages; every warning is an error (`make site`)."""

from __future__ import annotations

import logging

from pygments.lexers import PostgresLexer
from sphinx.application import Sphinx

project = "clip-scoring"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = "clip-scoring"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False

# Headings are anchors, as on GitHub, so that a link to one is checked.
myst_heading_anchors = 4
# A link that leads out of the site is to a file of the repository, or to the web.
myst_url_schemes = ["http", "https"]

# Docstrings use single backticks for names.
default_role = "literal"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True

# Modules that are imported for their docstrings announce their plugins.
logging.getLogger("alembic").setLevel(logging.WARNING)


def setup(app: Sphinx) -> None:
    """SQL on these pages is PostgreSQL's, with `DO $$`."""
    app.add_lexer("sql", PostgresLexer)
