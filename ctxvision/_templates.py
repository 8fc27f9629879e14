"""Jinja2 templates of the package."""

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, /, **values: Any) -> str:
    """Renders a template in the folder `templates` of a package, such as "ctxvision.report".

    Values are escaped for HTML. A missing value raises an error.
    """
    return _environment(package).get_template(template).render(values)


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
