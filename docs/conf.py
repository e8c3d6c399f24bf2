"""How the documentation is built: see ``./dev/docs``."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.addnodes import pending_xref

import sparkml_lsml

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
EXECUTED = ROOT / "build" / "notebooks"
SOURCES = ROOT / "notebooks"
SHOWN = ROOT / "docs" / "notebooks"

project = "sparkml_lsml"
author = "The sparkml_lsml contributors"
copyright = author
release = version = sparkml_lsml.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_templates"]
templates_path = ["_templates"]

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist", "substitution"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# Notebooks are run by dev/notebooks.py, which knows when one has to be run again.
nb_execution_mode = "off"
nb_merge_streams = True
nb_number_source_lines = False

# Reference
autosummary_generate = True
autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_param = False
napoleon_use_rtype = False
# A name in single backticks links to the object of that name where there is one.
default_role = "py:obj"
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# Appearance
html_theme = "furo"
html_title = f"sparkml_lsml {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "native"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5c8a",
        "color-brand-content": "#0b6aa2",
        "font-stack--monospace": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
    },
    "dark_css_variables": {
        "color-brand-primary": "#62b6e6",
        "color-brand-content": "#6cbcea",
    },
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

ACCESSOR = re.compile(r"(set|get)[A-Z]\w*")

INTERNAL = {
    "CheckedParams.value",
    "LinearEstimator.adopt",
    "LinearEstimator.ingest_key",
    "LinearEstimator.warn_about_one_class",
}
"""Members that only other modules of the package call."""

PAGES_OF_FILES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
"""Files of the repository that are pages here, under other paths."""


def keep_out(_app: Sphinx, _what: str, name: str, obj: Any, skip: bool, _options: Any) -> bool:
    """Whether the reference leaves out a member: what PySpark and Python document themselves."""
    if isinstance(obj, property):
        obj = obj.fget
    if callable(obj) and getattr(inspect.unwrap(obj), "__qualname__", "") in INTERNAL:
        return True
    module = getattr(inspect.unwrap(obj), "__module__", None) if callable(obj) else ""
    foreign = module is None or module.split(".")[0] not in ("", "sparkml_lsml")
    # a setter and a getter for each Param say nothing that the Param does not
    accessor = ACCESSOR.fullmatch(name) and "the value of" in (inspect.getdoc(obj) or "")
    return bool(skip or foreign or accessor)


def join_lines(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    r"""Join lines that end in a backslash, which begin at the margin, and take back the indent."""
    text = "\n".join(lines)
    if "\\\n" in text:
        joined = text.replace("\\\n", "")
        first, _, rest = joined.partition("\n")
        lines[:] = [first.strip(), *textwrap.dedent(rest).split("\n")]


def unlink_words(_app: Sphinx, doctree: nodes.document) -> None:
    """Words of types such as ``array of shape (rows,)`` are no names of objects."""
    for reference in list(doctree.findall(pending_xref)):
        word = str(reference.get("reftarget"))
        if reference.get("reftype") == "class" and re.fullmatch(r"[a-z]\w*", word):
            reference.replace_self(reference.children)


def rewrite_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let links between files of the repository lead to their pages, or to the files online."""
    up = "../" * docname.count("/")
    for file, page in PAGES_OF_FILES.items():
        source[0] = re.sub(rf"\]\((?:\.\./)+{re.escape(file)}", f"]({up}{page}", source[0])
    # the copies that show what the notebooks printed
    source[0] = re.sub(r"\]\((?:\.\./)+(?=notebooks/\w+\.ipynb)", f"]({up}", source[0])


def fetch_notebooks(app: Sphinx) -> None:
    """Put the executed notebooks, or those without outputs, where Sphinx looks for pages."""
    SHOWN.mkdir(exist_ok=True)
    for source in sorted(SOURCES.glob("*.ipynb")):
        executed = EXECUTED / source.name
        found = executed if executed.exists() else source
        target = SHOWN / source.name
        if not target.exists() or target.read_bytes() != found.read_bytes():
            shutil.copyfile(found, target)


def setup(app: Sphinx) -> None:
    fetch_notebooks(app)
    app.connect("autodoc-skip-member", keep_out)
    app.connect("autodoc-process-docstring", join_lines, priority=400)  # before napoleon reads
    app.connect("doctree-read", unlink_words)
    app.connect("source-read", rewrite_links)
