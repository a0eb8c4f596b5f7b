"""Jinja2 templates that lie in a package's folder `templates`, with everything escaped."""

from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(package: str, template: str, **values: Any) -> Markup:
    """The HTML of a template, such as `render("hpsvid.evaluation", "bench.html", rows=rows)`.

    A template may include those of `hpsvid.common`. Text is escaped, Markup is not. The same
    values give the same bytes; a value that the template needs and does not get raises
    jinja2.UndefinedError.
    """
    return Markup(_environment(package).get_template(template).render(values))


@cache
def _environment(package: str) -> Environment:
    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "hpsvid.common"))]
    return Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
