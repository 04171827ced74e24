"""A CSV of images in, the same CSV with the probabilities of labels out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from clip_scoring.api import Scorer, rooted
from clip_scoring.errors import Interrupted, SettingsInvalid
from clip_scoring.files.labels import (
    LabelLayout,
    Verdict,
    read_labels,
    require_place,
    write_labelled,
)
from clip_scoring.files.reader import CsvFile, CsvReading, CsvRow
from clip_scoring.files.score import Progress, Stopping, Watch
from clip_scoring.filesystem import atomic_writer
from clip_scoring.metrics import Measures
from clip_scoring.ports import DecodedImage, LoadedImages
from clip_scoring.records import Reason, Record, Rejection, screen_caption
from clip_scoring.settings.fields import LABEL, Count, FilePath, Template
from clip_scoring.settings.file_options import FileOptions
from clip_scoring.settings.problems import options_of
from clip_scoring.settings.scorer_options import ScorerChoices
from clip_scoring.stages import Read, load_ahead

_ANY_CAPTION = "image"
"""Records without a caption are not loaded; nobody reads this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """The images, the labels, and how much is said of them."""

    file: FileOptions
    labels: FilePath
    templates: tuple[Template, ...] = (LABEL,)
    """Around each label, with `{label}` in them; several make one embedding."""
    top: Count = 0
    """So many labels for each image; 0 means all of them, each in a column of its own."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> LabelOptions:
        """From values as people write them; raises SettingsInvalid."""
        own = {name: given[name] for name in ("labels", "templates", "top") if name in given}
        return options_of(cls, {"file": FileOptions.of(given), **own})

    @property
    def output_path(self) -> Path:
        """The output: `IMAGES_classified.csv` beside IMAGES.csv unless another was named."""
        if self.file.output is not None:
            return self.file.output
        name = Path(self.file.path.name.removesuffix(".gz"))
        suffix = name.suffix if name.suffix.lower() == ".tsv" else ".csv"
        return self.file.path.with_name(f"{name.stem}_classified{suffix}")


@dataclass(slots=True)
class Classified:
    """What is in the output."""

    output: Path
    device: str
    """What it was computed on."""
    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    """How many images each of them fits best."""
    rejections: Counter[str] = field(default_factory=Counter)

    @property
    def rejected(self) -> int:
        """Rows without a label."""
        return self.rejections.total()


class Classification:
    """One pass over a file; close it to stop its processes."""

    def __init__(
        self, options: LabelOptions, choices: ScorerChoices, scorer: Scorer | None = None
    ) -> None:
        """Look at everything that can be wrong before any image is.

        Raises SettingsInvalid, ObjectUnreadable, WeightsInvalid or WeightsUnreachable.
        """
        self._options = options
        labels = read_labels(options.labels)
        if options.top > len(labels):
            raise SettingsInvalid(
                f"option top: {options.top} is more than the {len(labels)} labels there are"
            )
        self._labels = list(labels)
        self._prompts = _prompts(labels, options)
        given = options.file
        self._file = CsvFile.open(
            given.path,
            wanted=[given.image],
            delimiter=given.delimiter,
            has_header=given.has_header,
        )
        self._image = self._file.place(given.image)
        self._folder = str(given.path.absolute().parent)
        self._layout = _layout(self._file, self._labels, options)
        require_place(options.output_path, self._layout, source=given.path, force=given.force)
        self._scorer = scorer or Scorer(**choices)

    def run(self, *, watch: Watch, stopping: Stopping) -> Classified:
        """Classify every row, then put the output into its place.

        `watch` is told after each batch. Raises Interrupted when `stopping`, with nothing written.
        """
        # Asked for the device it opens everything, which the threads of the loader must not do.
        found = Classified(self._options.output_path, self._scorer.device)
        with atomic_writer(found.output) as stream, closing(self._file.rows()) as rows:
            verdicts = self._verdicts(rows, found, watch, stopping)
            write_labelled(stream, verdicts, self._layout)
        return found

    def close(self) -> None:
        """End the scorer."""
        self._scorer.close()

    def _verdicts(
        self, rows: CsvReading, found: Classified, watch: Watch, stopping: Stopping
    ) -> Iterator[tuple[Sequence[str], Verdict]]:
        with closing(self._loaded(rows)) as batches:
            for batch, images in batches:
                if stopping():
                    raise Interrupted("interrupted: nothing was written, start it again")
                for row, verdict in zip(batch, self._judged(images), strict=True):
                    self._count(found, verdict)
                    yield row.cells, verdict
                watch(Progress(found.rows, found.rejected, rows.share))

    def _loaded(
        self, rows: CsvReading
    ) -> Generator[tuple[Sequence[CsvRow], Sequence[DecodedImage | Rejection]]]:
        """Batches of rows with their images, while those of the next ones are being loaded."""
        size = self._scorer.options.batch_size
        waiting: deque[Sequence[CsvRow]] = deque()

        def reads() -> Iterator[Read]:
            while batch := list(islice(rows, size)):
                waiting.append(batch)
                yield Read([self._record(each) for each in batch], batch[-1].line, Measures())

        for loaded in load_ahead(reads(), loader=_Images(self._scorer), batch_size=size):
            yield waiting.popleft(), loaded.images

    def _record(self, row: CsvRow) -> Record:
        """The row's image; what is no row is a flawed record."""
        address = row.cells[self._image] if self._image < len(row.cells) else ""
        flaw = row.flaw
        if not flaw and any("\udc80" <= each <= "\udcff" for each in address):
            flaw = f"line {row.line}: not UTF-8"
        if flaw:
            return Record(row.line, "", "", flaw=Rejection(Reason.RECORD_INVALID, flaw))
        if self._scorer.options.image_root is None:
            address = rooted(address, self._folder)
        return Record(row.line, address, _ANY_CAPTION)

    def _judged(self, images: Sequence[DecodedImage | Rejection]) -> list[Verdict]:
        """The probabilities for each image, in order, or why there are none."""
        seen = [each for each in images if not isinstance(each, Rejection)]
        judged = iter(self._scorer.probabilities(seen, self._prompts) if seen else ())
        verdicts = [each if isinstance(each, Rejection) else next(judged) for each in images]
        return [_finite(each) for each in verdicts]

    def _count(self, found: Classified, verdict: Verdict) -> None:
        found.rows += 1
        if isinstance(verdict, Rejection):
            found.rejections[verdict.reason] += 1
        else:
            found.labels[self._labels[int(np.argmax(verdict))]] += 1


@dataclass(frozen=True, slots=True)
class _Images:
    """The scorer as a loader."""

    scorer: Scorer

    def load(self, records: Sequence[Record]) -> LoadedImages:
        return LoadedImages(self.scorer.load(records), Measures())


def _prompts(labels: Mapping[str, int], options: LabelOptions) -> Sequence[Sequence[str]]:
    """Of each label its captions; raises SettingsInvalid for what no caption may be."""
    prompts = [[each.replace(LABEL, label) for each in options.templates] for label in labels]
    for line, captions in zip(labels.values(), prompts, strict=True):
        for each in captions:
            if refused := screen_caption(each):
                raise SettingsInvalid(
                    f"labels {options.labels}: line {line}: {refused.reason}: {refused.detail}"
                )
    return prompts


def _layout(file: CsvFile, labels: Sequence[str], options: LabelOptions) -> LabelLayout:
    given, dialect = options.file, file.dialect
    if options.output_path.suffix.lower() == ".tsv":
        dialect = replace(dialect, delimiter="\t")
    return LabelLayout(
        file.columns, dialect, labels, options.top, given.column_prefix, given.excel_safe
    )


def _finite(verdict: Verdict) -> Verdict:
    if isinstance(verdict, Rejection) or np.isfinite(verdict).all():
        return verdict
    return Rejection(Reason.NON_FINITE, "no direction, or no memory for it even alone")
