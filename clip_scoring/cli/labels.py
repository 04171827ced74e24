"""`clip-scoring classify` and `clip-scoring split`: a CSV of images by label, and into parts."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from clip_scoring.cli.choices import (
    NOT_GIVEN,
    add_column_options,
    add_dialect_options,
    add_force_option,
    add_scoring_options,
    scorer_choices,
)
from clip_scoring.cli.commands import Commands, add_command
from clip_scoring.cli.console import Stop, say, told_to_stop, watching
from clip_scoring.cli.exit_code import ExitCode

if TYPE_CHECKING:
    from clip_scoring.files.classify import Classified

CLASSIFY = """\
Find the label that fits each image of a CSV file best, without training examples (zero-shot). The
output has all columns of the input, unchanged, then label, probability, a column p_LABEL for each
label, rejection and rejection_detail. An image that cannot be loaded gets a reason and does not
stop the others. An interrupted call writes nothing and cannot be resumed."""
SPLIT = """\
Split a CSV file into parts for training and testing, by a hash of one column: rows with the same
image stay in one part, and a row stays in its part when rows are added or reordered."""
EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.WRONG_USE: "wrong use, nothing was written",
    ExitCode.TRY_AGAIN: "interrupted or disk full, nothing was written",
}
_MOST_TOLD = 10


def add_commands(commands: Commands) -> None:
    """Add `classify` and `split` to the program's parser."""
    _add_classify(commands)
    _add_split(commands)


def _add_classify(commands: Commands) -> None:
    classify = add_command(
        commands,
        "classify",
        summary="find the label that fits each image of a CSV file best (cannot be resumed)",
        examples=(
            "clip-scoring classify images.csv --labels labels.txt",
            "clip-scoring classify images.csv --labels labels.txt --top 3 "
            "--template 'a photo of a {label}' -o top3.csv",
        ),
        exit_codes=EXIT_CODES,
        description=CLASSIFY,
        argument_default=NOT_GIVEN,
    )
    classify.add_argument("path", type=Path, metavar="IMAGES.csv", help="file of images")
    _add_labels(classify.add_argument_group("labels"))
    _add_input(
        classify.add_argument_group("input"),
        "--image-column",
        "column of image URLs, s3:// addresses or paths (default: url, or 1 with --no-header)",
    )
    group = classify.add_argument_group("output")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="output file, .csv or .tsv (default: IMAGES_classified.csv next to the input)",
    )
    add_force_option(group)
    add_column_options(group)
    add_scoring_options(classify)
    classify.set_defaults(command=_classify)


def _add_labels(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="FILE",
        help="file with one label per line, UTF-8, at most 10,000",
    )
    group.add_argument(
        "--template",
        dest="templates",
        action="append",
        metavar="TEXT",
        help='caption of a label, for example "a photo of a {label}" (default: the label alone); '
        "can be repeated, the embeddings are averaged",
    )
    group.add_argument(
        "--top",
        metavar="N",
        help="write columns label_1, probability_1 to label_N, probability_N instead of one for "
        "each label",
    )


def _add_input(group: argparse._ArgumentGroup, column: str, text: str) -> None:
    group.add_argument(column, metavar="NAME", help=text)
    add_dialect_options(group)


def _add_split(commands: Commands) -> None:
    split = add_command(
        commands,
        "split",
        summary="split a CSV file for training and testing, the rows of an image in one part",
        examples=(
            "clip-scoring split pairs.csv --ratios 0.8,0.2",
            "clip-scoring split pairs.csv --ratios 0.7,0.2,0.1 --names train,val,test -o parts",
        ),
        exit_codes=EXIT_CODES,
        description=SPLIT,
        argument_default=NOT_GIVEN,
    )
    split.add_argument("path", type=Path, metavar="PAIRS.csv", help="file of pairs")
    _add_parts(split.add_argument_group("parts"))
    _add_input(
        split.add_argument_group("input"),
        "--by",
        "column whose equal values stay in one part (default: url, or 1 with --no-header)",
    )
    group = split.add_argument_group("output")
    group.add_argument(
        "-o",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="directory of the parts (default: that of the file)",
    )
    add_force_option(group)
    # It needs no settings, so wrong ones do not matter.
    split.set_defaults(command=_split, settings=lambda: None)


def _add_parts(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ratios",
        required=True,
        metavar="R,R,…",
        help="shares of the parts, 2 to 10 numbers whose sum is 1: 0.7,0.2,0.1",
    )
    group.add_argument(
        "--names",
        metavar="N,N,…",
        help="suffixes of the file names (default: train,test; train,val,test; or part1,…)",
    )
    group.add_argument(
        "--salt",
        metavar="TEXT",
        help="text that changes the split (default: none)",
    )


def _classify(_: object, arguments: argparse.Namespace) -> None:
    from clip_scoring.files.classify import (  # noqa: PLC0415  # --help must not wait
        Classification,
        LabelOptions,
    )

    given = vars(arguments)
    options, stop = LabelOptions.of(given), Stop()
    with (
        told_to_stop(stop),
        watching(given, stop) as console,
        closing(Classification(options, scorer_choices(given))) as classification,
    ):
        console.begin(f"{options.file.path}: labels of {options.labels}")
        result = classification.run(watch=console.progress, stopping=stop.asked)
    say(_summary(result))


def _summary(result: Classified) -> str:
    classified = result.rows - result.rejected
    lines = [
        f"{result.output}: {result.rows} rows  classified {classified}  rejected {result.rejected}"
    ]
    lines += [f"  {label}  {count}" for label, count in result.labels.most_common(_MOST_TOLD)]
    if result.rejected:
        lines.append("rejected")
    lines += [f"  {reason}  {count}" for reason, count in result.rejections.most_common()]
    return "\n".join(lines)


def _split(_: object, arguments: argparse.Namespace) -> None:
    from clip_scoring.files.split import (  # noqa: PLC0415  # as above
        SplitOptions,
        split_file,
    )

    parts = split_file(SplitOptions.of(vars(arguments)))
    total = sum(part.rows for part in parts)
    for part in parts:
        say(f"{part.path}: {part.rows} rows, {part.rows / max(total, 1):.2%}")
