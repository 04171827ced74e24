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

from clip_scoring.api import Scorer, resolve_uri
from clip_scoring.errors import Interrupted, SettingsInvalid
from clip_scoring.files.labels import (
    LabelLayout,
    Prediction,
    read_labels,
    require_place,
    write_labelled,
)
from clip_scoring.files.reader import CsvFile, CsvReading, CsvRow
from clip_scoring.files.score import Progress, Stopping, Watch
from clip_scoring.filesystem import atomic_writer
from clip_scoring.metrics import StageMetrics
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
    """Number of labels for each image; 0 means all of them, each in a column of its own."""

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
    """Figures of the output."""

    output: Path
    device: str
    """The device's name for people."""
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
        self._image = self._file.column_index(given.image)
        self._folder = str(given.path.absolute().parent)
        self._layout = _layout(self._file, self._labels, options)
        require_place(options.output_path, self._layout, source=given.path, force=given.force)
        self._scorer = scorer or Scorer(**choices)

    def run(self, *, watch: Watch, stopping: Stopping) -> Classified:
        """Classify every row, then put the output into its place.

        `watch` is told after each batch. Raises Interrupted when `stopping`, with nothing written.
        """
        # Asked for the device it opens everything, which the threads of the loader must not do.
        classified = Classified(self._options.output_path, self._scorer.device)
        with atomic_writer(classified.output) as stream, closing(self._file.rows()) as rows:
            predictions = self._predictions(rows, classified, watch, stopping)
            write_labelled(stream, predictions, self._layout)
        return classified

    def close(self) -> None:
        """End the scorer."""
        self._scorer.close()

    def _predictions(
        self, rows: CsvReading, classified: Classified, watch: Watch, stopping: Stopping
    ) -> Iterator[tuple[Sequence[str], Prediction]]:
        with closing(self._loaded(rows)) as batches:
            for batch, images in batches:
                if stopping():
                    raise Interrupted("interrupted: nothing was written, start it again")
                for row, prediction in zip(batch, self._judged(images), strict=True):
                    self._count(classified, prediction)
                    yield row.cells, prediction
                watch(Progress(classified.rows, classified.rejected, rows.share))

    def _loaded(
        self, rows: CsvReading
    ) -> Generator[tuple[Sequence[CsvRow], Sequence[DecodedImage | Rejection]]]:
        """Batches of rows with their images, while those of the next ones are being loaded."""
        size = self._scorer.options.batch_size
        waiting: deque[Sequence[CsvRow]] = deque()

        def reads() -> Iterator[Read]:
            while batch := list(islice(rows, size)):
                waiting.append(batch)
                yield Read([self._record(row) for row in batch], batch[-1].line, StageMetrics())

        for loaded in load_ahead(reads(), loader=_Images(self._scorer), batch_size=size):
            yield waiting.popleft(), loaded.images

    def _record(self, row: CsvRow) -> Record:
        """The row's image; a broken row is a record with a parse error."""
        address = row.cells[self._image] if self._image < len(row.cells) else ""
        parse_error = row.parse_error
        if not parse_error and any("\udc80" <= letter <= "\udcff" for letter in address):
            parse_error = f"line {row.line}: not UTF-8"
        if parse_error:
            return Record(
                row.line, "", "", parse_error=Rejection(Reason.RECORD_INVALID, parse_error)
            )
        if self._scorer.options.image_root is None:
            address = resolve_uri(address, self._folder)
        return Record(row.line, address, _ANY_CAPTION)

    def _judged(self, images: Sequence[DecodedImage | Rejection]) -> list[Prediction]:
        """The probabilities for each image, in order, or why there are none."""
        seen = [image for image in images if not isinstance(image, Rejection)]
        judged = iter(self._scorer.probabilities(seen, self._prompts) if seen else ())
        predictions = [image if isinstance(image, Rejection) else next(judged) for image in images]
        return [_finite(prediction) for prediction in predictions]

    def _count(self, classified: Classified, prediction: Prediction) -> None:
        classified.rows += 1
        if isinstance(prediction, Rejection):
            classified.rejections[prediction.reason] += 1
        else:
            classified.labels[self._labels[int(np.argmax(prediction))]] += 1


@dataclass(frozen=True, slots=True)
class _Images:
    """The scorer as a loader."""

    scorer: Scorer

    def load(self, records: Sequence[Record]) -> LoadedImages:
        return LoadedImages(self.scorer.load(records), StageMetrics())


def _prompts(labels: Mapping[str, int], options: LabelOptions) -> Sequence[Sequence[str]]:
    """Of each label its captions; raises SettingsInvalid for what no caption may be."""
    prompts = [
        [template.replace(LABEL, label) for template in options.templates] for label in labels
    ]
    for line, captions in zip(labels.values(), prompts, strict=True):
        for caption in captions:
            if refused := screen_caption(caption):
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


def _finite(prediction: Prediction) -> Prediction:
    if isinstance(prediction, Rejection) or np.isfinite(prediction).all():
        return prediction
    return Rejection(Reason.NON_FINITE, "no direction, or no memory for it even alone")
