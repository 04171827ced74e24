"""The report of a scored file: a page that stands alone, and its plots as pictures beside it."""

from __future__ import annotations

from pathlib import Path

from clip_scoring.filesystem import atomic_write
from clip_scoring.reporting import plots
from clip_scoring.reporting.figures import ReportFigures, ReportPair
from clip_scoring.reporting.page import page
from clip_scoring.reporting.palette import DARK, LIGHT, Palette
from clip_scoring.reporting.sheets import contact_sheet

__all__ = ["ReportFigures", "ReportPair", "write_report"]

PAGE = "index.html"


def write_report(figures: ReportFigures, folder: Path) -> Path:
    """Writes the page and its pictures to `folder`, which need not exist, and returns the page.

    The same figures give the same bytes. Pictures that an earlier report left there and that this
    one has no figures for are removed; other files stay. Raises OSError.
    """
    light, dark = _plots(figures, LIGHT), _plots(figures, DARK)
    content = page(figures, _present(light), _present(dark)).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in (light | _sheets(figures)).items():
        if picture is None:
            (folder / name).unlink(missing_ok=True)
        else:
            atomic_write(folder / name, picture)
    atomic_write(folder / PAGE, content)
    return folder / PAGE


def _plots(figures: ReportFigures, palette: Palette) -> dict[str, bytes | None]:
    matrix = figures.matrix
    names = figures.matrix_names
    return {
        "distribution.png": plots.distribution(figures.histogram, palette),
        "throughput.png": plots.throughput(figures.throughput, palette),
        "rejections.png": plots.rejections(figures.rejections, palette),
        "matrix.png": None if matrix is None else plots.matrix(matrix, names, palette),
    }


def _sheets(figures: ReportFigures) -> dict[str, bytes | None]:
    return {
        "lowest.png": contact_sheet("Lowest similarities", figures.lowest, LIGHT),
        "highest.png": contact_sheet("Highest similarities", figures.highest, LIGHT),
        "random.png": contact_sheet("Random pairs", figures.random, LIGHT),
    }


def _present(plots: dict[str, bytes | None]) -> dict[str, bytes]:
    return {name: picture for name, picture in plots.items() if picture is not None}
