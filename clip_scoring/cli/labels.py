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
from clip_scoring.cli.console import Stop, say, told_to_stop, watching

if TYPE_CHECKING:
    from clip_scoring.cli.runs import Commands
    from clip_scoring.files.classify import Classified

CLASSIFY = """\
Say which of the labels fits each image of a CSV file best, without having seen an example of any
(zero-shot). All columns come out as they were, then label, probability, a column p_LABEL for each
label, rejection and rejection_detail. An image that cannot be loaded gets a reason and stops
nothing. This cannot be resumed: interrupted, it writes nothing, and begins anew the next time."""
SPLIT = """\
Split a CSV file into parts for training and testing, by a hash of one column: rows with the same
image stay together, and a row stays in its part whatever is added or reordered."""
EXITS = """\
exit codes: 0 done; 2 wrong use, nothing was written; 3 interrupted or out of space, nothing was
written"""
_MOST_TOLD = 10


def add_commands(commands: Commands) -> None:
    """Add `classify` and `split` to the program's parser."""
    _add_classify(commands)
    _add_split(commands)


def _add_classify(commands: Commands) -> None:
    classify = commands.add_parser(
        "classify",
        help="say which of some labels fits each image of a CSV file (not resumable)",
        description=CLASSIFY,
        epilog=EXITS,
        argument_default=NOT_GIVEN,
    )
    classify.add_argument("path", type=Path, metavar="IMAGES.csv", help="the images")
    _add_labels(classify.add_argument_group("what may be in the images"))
    _add_input(
        classify.add_argument_group("what is in the file"),
        "--image-column",
        "URLs, s3:// addresses and paths of images (default: url, or 1 with --no-header)",
    )
    group = classify.add_argument_group("what comes out")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the output, .csv or .tsv (default: IMAGES_classified.csv beside the input)",
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
        help="one label a line, UTF-8, at most 10,000",
    )
    group.add_argument(
        "--template",
        dest="templates",
        action="append",
        metavar="TEXT",
        help='the caption of a label, like "a photo of a {label}" (default: the label alone); '
        "given again, the embeddings of all are averaged",
    )
    group.add_argument(
        "--top",
        metavar="N",
        help="columns label_1, probability_1 to label_N, probability_N in the place of one for "
        "each label",
    )


def _add_input(group: argparse._ArgumentGroup, column: str, text: str) -> None:
    group.add_argument(column, metavar="NAME", help=text)
    add_dialect_options(group)


def _add_split(commands: Commands) -> None:
    split = commands.add_parser(
        "split",
        help="split a CSV file for training and testing, images kept together",
        description=SPLIT,
        epilog=EXITS,
        argument_default=NOT_GIVEN,
    )
    split.add_argument("path", type=Path, metavar="PAIRS.csv", help="the pairs")
    _add_parts(split.add_argument_group("what the parts are"))
    _add_input(
        split.add_argument_group("what is in the file"),
        "--by",
        "rows with the same value here stay together (default: url, or 1 with --no-header)",
    )
    group = split.add_argument_group("what comes out")
    group.add_argument(
        "-o",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="the folder of the parts (default: that of the file)",
    )
    add_force_option(group)
    # It needs no settings, so wrong ones do not matter.
    split.set_defaults(command=_split, settings=lambda: None)


def _add_parts(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ratios", required=True, metavar="R,R,…", help="2 to 10, their sum is 1: 0.7,0.2,0.1"
    )
    group.add_argument(
        "--names",
        metavar="N,N,…",
        help="behind the file's name (default: train and test, train, val and test, or part1, …)",
    )
    group.add_argument(
        "--salt",
        metavar="TEXT",
        help="another text gives another split (default: none)",
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
        found = classification.run(watch=console.progress, stopping=stop.asked)
    say(_summary(found))


def _summary(found: Classified) -> str:
    classified = found.rows - found.rejected
    lines = [
        f"{found.output}: {found.rows} rows  classified {classified}  rejected {found.rejected}"
    ]
    lines += [f"  {label}  {count}" for label, count in found.labels.most_common(_MOST_TOLD)]
    if found.rejected:
        lines.append("rejected")
    lines += [f"  {reason}  {count}" for reason, count in found.rejections.most_common()]
    return "\n".join(lines)


def _split(_: object, arguments: argparse.Namespace) -> None:
    from clip_scoring.files.split import (  # noqa: PLC0415  # as above
        SplitOptions,
        split_file,
    )

    parts = split_file(SplitOptions.of(vars(arguments)))
    total = sum(each.rows for each in parts)
    for each in parts:
        say(f"{each.path}: {each.rows} rows, {each.rows / max(total, 1):.2%}")
