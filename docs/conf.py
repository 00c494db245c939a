"""Settings of the documentation. Build it with ``make docs``; no network is needed."""

import logging
import os
import sys
from pathlib import Path

import causalppl

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# These are inherited by the tutorials' kernels; a page shows no moving bars.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
os.environ.setdefault("TQDM_DELAY", "3600")

project = "causalppl"
author = "the causalppl developers"
project_copyright = "the causalppl developers; Apache-2.0"
version = release = causalppl.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinxcontrib.bibtex",
    "citations",
    "notebooks",
    "reference_links",
    "reference_pages",
]
exclude_patterns = ["_build", "notebooks", "**.ipynb_checkpoints"]

# A list of pages that is still empty is no mistake. Sphinx 9.0 gives this warning no type, so that
# suppress_warnings cannot name it.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)

# References into this package must resolve; the types of others are shown as plain text, because
# looking them up needs the network. So are types private to a file (causalppl.folder.file.Name or
# a leading underscore).
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!causalppl\.).*"),
    ("py:.*", r"causalppl\.[a-z_]+\.[a-z_]+\..*"),
    ("py:.*", r"causalppl\.(.*\.)?_.*"),
    ("py:.*", r"causalppl\.parallel\.(Item|Result)"),  # type variables
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year_round"
bibtex_default_style = "plain"

# Tutorials are run at every build from scratch and may claim nothing that fails.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 180
nb_merge_streams = True

html_theme = "furo"
html_title = f"causalppl {release}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False

mathjax_path = "mathjax/tex-chtml-full.js"  # vendored; its licence is beside it
mathjax3_config = {"options": {"enableMenu": False}}
