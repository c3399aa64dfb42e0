"""Builds the site from these pages: `make docs`. A warning is an error, a request elsewhere too."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from reference import write_pages  # noqa: E402  (tools/ is on no path before)

write_pages(ROOT / "docs/reference")

project = "neft_ray"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "version"
]
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"neft_ray {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}
highlight_language = "none"
smartquotes = False
myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 4
