"""`clip-scoring score`: a CSV of pairs in, the same CSV with similarities out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_scoring.cli.choices import (
    NOT_GIVEN,
    add_column_options,
    add_dialect_options,
    add_force_option,
    add_scoring_options,
    scorer_choices,
)
from clip_scoring.cli.config import merged
from clip_scoring.cli.console import Stop, say, told_to_stop, watching
from clip_scoring.errors import RunFailed
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.file_options import FileOptions

if TYPE_CHECKING:
    from clip_scoring.cli.runs import Commands
    from clip_scoring.files.score import FileResult, FileScoring

DESCRIPTION = """\
Score the pairs of a CSV file. All its columns come out as they were, then similarity, clip_score,
similarity_01, caption_truncated, rejection and rejection_detail. Nothing has to be set up. A pair
that cannot be scored gets a reason and stops nothing; interrupted, the same command goes on where
it was."""
EPILOG = """\
exit codes: 0 done; 1 done, and more was rejected than --max-rejection-rate; 2 wrong use or input;
3 interrupted or out of space: the same command goes on"""


_BESIDE = ("metrics", "report")


def add_commands(commands: Commands) -> None:
    """Add `score` to the program's parser."""
    score = commands.add_parser(
        "score",
        help="score a CSV file, without a database",
        description=DESCRIPTION,
        epilog=EPILOG,
        argument_default=NOT_GIVEN,
    )
    # Of a place that may stay empty argparse takes the default for a text, and so for a path.
    score.add_argument(
        "path", type=Path, nargs="?", default=None, metavar="PAIRS.csv", help="the pairs"
    )
    _add_input(score.add_argument_group("what is in the file"))
    _add_output(score.add_argument_group("what comes out"))
    _add_course(score.add_argument_group("how it goes"))
    add_scoring_options(score)
    score.set_defaults(command=_score)


def _add_input(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image-column",
        metavar="NAME",
        help="URLs, s3:// addresses and paths of images (default: url)",
    )
    group.add_argument("--caption-column", metavar="NAME", help="captions (default: caption)")
    group.add_argument(
        "--id-column",
        metavar="NAME",
        help="what the report calls a pair (default: its row)",
    )
    add_dialect_options(group)
    group.add_argument("--limit", metavar="N", help="score, and write, the first N rows only")
    group.add_argument(
        "--seed",
        metavar="N",
        help="with --limit: N rows drawn at random, the same ones for the same seed",
    )
    group.add_argument(
        "--prefix",
        metavar="TEXT",
        help='a template for captions, like "A photo depicts {caption}"',
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the output; .csv, .tsv, .jsonl, .parquet, .csv.gz or .jsonl.gz (default: "
        "PAIRS_scored.csv beside the input)",
    )
    add_force_option(group)
    add_column_options(group)
    group.add_argument(
        "--metrics",
        type=Path,
        metavar="FILE",
        help="figures as JSON, and as text beside it",
    )
    group.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="a page with plots and pictures, as one HTML file",
    )
    group.add_argument(
        "--max-rejection-rate",
        metavar="SHARE",
        help="exit with 1 when a larger share is rejected",
    )


def _add_course(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="options as YAML, by their long names; also csv_path, image_path, use_cuda, "
        "pretrained_model. What the command line says comes first",
    )
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        help="go on where an interrupted call stopped (default), or start afresh",
    )
    group.add_argument(
        "--retry-rejected",
        action="store_true",
        help="score again what was rejected, and nothing else",
    )
    group.add_argument(
        "--commit-every",
        metavar="N",
        help="rows after which the journal is brought to the disk (default: 10,000), at the latest "
        "after 10 seconds",
    )
    group.add_argument("--quiet", action="store_true", help="say nothing unless it fails")
    group.add_argument("--json-logs", action="store_true", help="progress as lines of JSON")


def _score(_: Settings, arguments: argparse.Namespace) -> None:
    given = merged(vars(arguments))
    options = FileOptions.of(given)
    from clip_scoring.files.report import require_places  # noqa: PLC0415  # as above
    from clip_scoring.files.score import FileScoring  # noqa: PLC0415  # --help must not wait

    stop = Stop()
    require_places(options, *(Path(given[e]) if e in given else None for e in _BESIDE))
    with (
        told_to_stop(stop),
        watching(given, stop) as console,
        closing(FileScoring(options, scorer_choices(given))) as scoring,
    ):
        console.begin(f"{options.path}: {_dialect(scoring)}")
        result = scoring.run(watch=console.progress, stopping=stop.asked)
        _write_more(scoring, result, given)
        if not given.get("quiet"):
            say(_summary(result, options))
        scoring.settle(result)
    rate, limit = result.tally.rejection_rate, options.max_rejection_rate
    if limit is not None and rate > limit:
        raise RunFailed(f"rejection rate {rate:.4f} above the limit {limit}")


def _write_more(scoring: FileScoring, result: FileResult, given: Mapping[str, Any]) -> None:
    from clip_scoring.files import report as file_reports  # noqa: PLC0415  # as above

    if "metrics" in given:
        file_reports.write_metrics(result, Path(given["metrics"]))
    if "report" in given:
        file_reports.write_report(scoring, result, Path(given["report"]))


def _dialect(scoring: FileScoring) -> str:
    """What was found out about the file, where it is not what CSV usually is."""
    dialect = scoring.file.dialect
    named = {"\t": "tab"}.get(dialect.delimiter, dialect.delimiter)
    told = "" if dialect.delimiter == "," else f", delimiter {named} (--delimiter says otherwise)"
    return f"columns {', '.join(scoring.file.columns[:8])}{told}"


def _summary(result: FileResult, options: FileOptions) -> str:
    tally = result.tally
    lines = [
        f"{result.output}: {tally.rows} rows  scored {tally.scored}  rejected {tally.rejected}"
        f"  new {result.new}"
    ]
    lines += [f"  {reason}  {count}" for reason, count in tally.rejections.most_common()]
    if tally.rejected and not options.retry_rejected:
        lines.append("--retry-rejected tries these again")
    return "\n".join(lines)
