"""A hook of mkdocs: the pictures of samples/pictures belong to the site, as pictures/NAME.

The pages name them as they lie in the repository, so that whoever reads the pages there sees them.
"""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PICTURES = Path(__file__).resolve().parents[2] / "samples" / "pictures"


def on_files(files: Files, config: Any) -> Files:
    """Add every picture, so that pages may link to it and --strict finds those that miss."""
    for path in sorted(PICTURES.iterdir()):
        if path.suffix in (".jpg", ".svg"):
            files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with its pictures where the site has them."""
    return markdown.replace("](../samples/pictures/", "](pictures/")
