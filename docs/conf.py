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
# The kernels that run the cells: of this checkout, on the CPU as everywhere in these pages, with a
# profile of their own, so that nothing of the user's is read, and quiet but for errors.
PROFILE = HERE / "_build" / "ipython" / "profile_default"
PROFILE.mkdir(parents=True, exist_ok=True)
(PROFILE / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 'ERROR'\n")
os.environ["IPYTHONDIR"] = str(PROFILE.parent)
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
    "docstrings",
    "mathml",
    "repository_pages",
]
exclude_patterns = ["_build", "_extensions"]

# Pages
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4  # links within a page, as GitHub has them

# Code cells: run anew at each build, in the folder of their page, while it is read, so that {eval}
# in its text finds their values; one that fails is a warning, and so an error of the build
nb_execution_mode = "inline"
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_markdown_format = "myst"

# API
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures come from the source, see docstrings.py
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # types stand in the signature
napoleon_use_rtype = False
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
