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
from clip_scoring.cli.commands import Commands, add_command
from clip_scoring.cli.config import merged
from clip_scoring.cli.console import Stop, say, told_to_stop, watching
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.display import redacted_cell
from clip_scoring.errors import RunFailed
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.file_options import FileOptions

if TYPE_CHECKING:
    from clip_scoring.files.score import FileResult, FileScoring

DESCRIPTION = """\
Score the pairs of a CSV file. The output has all columns of the input, unchanged, then similarity,
clip_score, similarity_01, caption_truncated, rejection and rejection_detail. No setup is needed. A
pair that cannot be scored gets a reason and does not stop the others; after an interruption the
same command resumes."""
EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.RUN_FAILED: "done, and more was rejected than --max-rejection-rate allows",
    ExitCode.WRONG_USE: "wrong use or input",
    ExitCode.TRY_AGAIN: "interrupted or disk full: the same command resumes",
}
_BESIDE = ("metrics", "report")


def add_commands(commands: Commands) -> None:
    """Add `score` to the program's parser."""
    score = add_command(
        commands,
        "score",
        summary="score a CSV file, without a database",
        examples=(
            "clip-scoring score pairs.csv --report report",
            "clip-scoring score pairs.csv -o scored.parquet --max-rejection-rate 0.2",
        ),
        exit_codes=EXIT_CODES,
        description=DESCRIPTION,
        argument_default=NOT_GIVEN,
    )
    # Of a place that may stay empty argparse takes the default for a text, and so for a path.
    score.add_argument(
        "path", type=Path, nargs="?", default=None, metavar="PAIRS.csv", help="file of pairs"
    )
    _add_config(score)
    _add_input(score.add_argument_group("input"))
    _add_output(score.add_argument_group("output"))
    _add_resume(score.add_argument_group("resume"))
    _add_progress(score.add_argument_group("progress"))
    add_scoring_options(score)
    score.set_defaults(command=_score)


def _add_input(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image-column",
        metavar="NAME",
        help="column of image URLs, s3:// addresses or paths (default: url)",
    )
    group.add_argument(
        "--caption-column", metavar="NAME", help="column of captions (default: caption)"
    )
    group.add_argument(
        "--id-column",
        metavar="NAME",
        help="column that identifies a pair in the report (default: its row number)",
    )
    add_dialect_options(group)
    group.add_argument("--limit", metavar="N", help="maximum number of rows to score and write")
    group.add_argument(
        "--seed",
        metavar="N",
        help="with --limit: draw the rows at random; the same seed draws the same rows",
    )
    group.add_argument(
        "--prefix",
        metavar="TEXT",
        help='template for captions, for example "A photo depicts {caption}"',
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="output file: .csv, .tsv, .jsonl, .parquet, .csv.gz or .jsonl.gz (default: "
        "PAIRS_scored.csv next to the input)",
    )
    add_force_option(group)
    add_column_options(group)
    group.add_argument(
        "--metrics",
        type=Path,
        metavar="FILE",
        help="write metrics as JSON, and as text next to it",
    )
    group.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write a page with plots and pictures, one HTML file",
    )
    group.add_argument(
        "--max-rejection-rate",
        metavar="SHARE",
        help="exit with 1 when a larger share of the pairs is rejected",
    )


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file of options, by their long names; also csv_path, image_path, use_cuda, "
        "pretrained_model. Options of the command line take precedence",
    )


def _add_resume(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        help="resume an interrupted call (default), or restart from the first row",
    )
    group.add_argument(
        "--retry-rejected",
        action="store_true",
        help="score only the pairs that were rejected",
    )
    group.add_argument(
        "--commit-every",
        metavar="N",
        help="rows between two writes of the journal to disk (default: 10,000); at most 10 seconds "
        "pass between them",
    )


def _add_progress(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--quiet", action="store_true", help="print errors only")
    group.add_argument("--json-logs", action="store_true", help="print progress as lines of JSON")


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
        scoring.discard_journal_if_clean(result)
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
    """The detected dialect of the file, where it is not the usual one."""
    dialect = scoring.file.dialect
    named = {"\t": "tab"}.get(dialect.delimiter, dialect.delimiter)
    note = "" if dialect.delimiter == "," else f", delimiter {named} (--delimiter says otherwise)"
    return f"columns {', '.join(map(redacted_cell, scoring.file.columns[:8]))}{note}"


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
