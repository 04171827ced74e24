"""Pages from templates: everything that is put in is escaped."""

from __future__ import annotations

import json
from pathlib import Path

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clip_airflow.web import figures, texts
from clip_scoring import display

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    function.__name__: function
    for function in (
        texts.last_day, texts.instant,
        display.number, display.percent, display.similarity,
        display.visible, display.shortened, display.address, display.redacted,
        display.redacted_cell,
        figures.timeline_chart, figures.distribution_chart, figures.stages_chart,
    )
}  # fmt: skip
_environment.filters["json"] = json.dumps
_environment.globals["took"] = texts.took


def render(request: Request, template: str, **values: object) -> str:
    """The page as text; `root` is where the app is mounted."""
    root = request.scope.get("root_path", "")
    return _environment.get_template(template).render(root=root, **values)
