"""Jinja2 templates of the package."""

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, name: str, **values: Any) -> str:
    """Renders the template `name` in the folder `templates` of a package, such as "ctxvision.report".

    Values are escaped for HTML. A name that the template uses and `values` lacks raises an error.
    """
    return _environment(package).get_template(name).render(values)


@functools.cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
