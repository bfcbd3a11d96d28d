"""The site: MyST pages whose code cells are run when it is built, in furo's clothes.

`scripts/docs` builds it, with warnings as errors and without the network: no inventory of another
project is fetched, and no page asks anybody for anything.
"""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "_extensions"), str(ROOT)]
# Of the kernels that run the cells: this checkout, and figures of the processor as everywhere else.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
os.environ["JAX_PLATFORMS"] = "cpu"

import ffnn_jax  # noqa: E402

project = "ffnn_jax"
author = "the authors of ffnn_jax"
project_copyright = author
version = release = ffnn_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "mathml",
    "repository_pages",
]
exclude_patterns = ["_build", "_extensions", "lecture/exercises", "lecture/solutions"]
nitpicky = False

# Pages
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4  # links within a page, as GitHub has them
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # pages of GitHub may begin below the first heading

# Code cells: run anew at each build, while the page is read, so that {eval} finds their values
nb_execution_mode = "inline"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_execution_excludepatterns = []
nb_merge_streams = True
nb_render_markdown_format = "myst"

# API
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False

# Looks
html_theme = "furo"
html_title = f"ffnn_jax {version}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
