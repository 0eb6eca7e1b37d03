"""Settings of Sphinx: ``sphinx-build -W --keep-going -b html docs docs/_build/html``.

``generate.py`` writes the reference from the docstrings whenever the site is built.
"""

import sys
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate

project = "pkpo-sandbox"
author = "the pkpo-sandbox authors"
release = version = installed("pkpo-sandbox")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
default_role = "code"

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # library methods are described in the library's reference
autodoc_typehints = "none"
autodoc_preserve_defaults = True
# The pages of gemma2 are built without its extra too.
autodoc_mock_imports = [
    name
    for name in ("accelerate", "datasets", "math_verify", "peft", "transformers", "trl")
    if find_spec(name) is None
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = "pkpo-sandbox"
html_show_copyright = False


def setup(app) -> None:
    app.connect("builder-inited", lambda app: generate.write_pages(Path(app.srcdir)))
    app.connect("autodoc-process-docstring", generate.to_rest, priority=400)
