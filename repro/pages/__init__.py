"""What the report and the local page share: templates with style and script inside, so that a page is one file."""

import base64
from functools import lru_cache

from repro.extras import require
from repro.inference.legend import percent


@lru_cache(maxsize=1)
def _environment():
    require("report", "a page", "jinja2")
    from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined

    loaders = PrefixLoader({name: PackageLoader(f"repro.{name}", ".") for name in ("pages", "report", "serve")})
    environment = Environment(loader=loaders, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    # Styles and scripts are set into the page as they stand.
    environment.globals["file"] = lambda name: loaders.get_source(environment, name)[0]
    environment.filters["percent"] = percent
    return environment


def render(template, **values):
    """The page that a template makes, such as "report/report.html"."""
    return _environment().get_template(template).render(**values)


def data_uri(data, kind):
    """Bytes of a kind such as "image/png" as the address of a picture within the page itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
