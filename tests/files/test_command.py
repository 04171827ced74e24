"""The command line around scoring a file: options, a file of options, what it says and returns."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Sequence
from pathlib import Path

import pytest

from clip_scoring.cli import main
from clip_scoring.cli.config import merged, read_config
from clip_scoring.cli.console import Rate
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.errors import SettingsInvalid
from clip_scoring.files import score as files
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.settings.file_options import FileOptions
from clip_scoring.settings.scorer_options import ScorerOptions
from tests.files.fake import PretendScorer
from tests.files.kills import REPOSITORY, command, environment


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "Scorer", PretendScorer)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text("url,caption\na.jpg,a\ntimeout,b\nc.jpg,c\nd.jpg,d\n")
    return path


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_too_many_rejections_are_exit_code_1_and_the_output_is_there(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(pairs), "--max-rejection-rate", "0.2"]) is ExitCode.RUN_FAILED
    said = capsys.readouterr()
    assert "rejection rate 0.2500 above the limit 0.2" in said.err
    assert "4 rows  scored 3  rejected 1  new 4" in said.out
    assert len(lines_of(pairs.with_name("pairs_scored.csv"))) == 5
    assert main(["score", str(pairs), "--max-rejection-rate", "0.25"]) is ExitCode.DONE


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batch-size", "0"], "option batch_size: '0' must be a whole number from 1 to 4096"),
        (["--batch-size", "x"], "option batch_size: 'x' must be a whole number from 1"),
        (["--limit", "-1"], "option limit: '-1' must be a whole number from 0"),
        (["--commit-every", "0"], "option commit_every: '0' must be a whole number from 1"),
        (["--max-rejection-rate", "1.5"], "max_rejection_rate: '1.5' must be a number from 0"),
        (["--max-rejection-rate", "nan"], "max_rejection_rate: 'nan' must be a number from 0"),
        (["--delimiter", "ab"], "option delimiter: 'ab' must be one character"),
        (["--image-root", "/nowhere"], "image_root: '/nowhere' must be a folder that exists"),
        (["--tier", "int8", "--dtype", "float16"], "tier int8 has dtype int8, not float16"),
        (["--image-column", "link"], "has no column 'link'"),
        (["--metrics", "/nowhere/m.json"], "metrics /nowhere/m.json: no such folder"),
        (["-o", "/nowhere/out.csv"], "output /nowhere/out.csv: no such folder"),
        (["--config", "/nowhere/c.yaml"], "config /nowhere/c.yaml: No such file"),
    ],
)  # fmt: skip
def test_wrong_use_is_exit_code_2_with_the_option_and_what_it_may_be(
    pairs: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["score", str(pairs), *options]) is ExitCode.WRONG_USE
    assert said in capsys.readouterr().err
    assert [each.name for each in pairs.parent.iterdir()] == ["pairs.csv"]


def test_without_a_file_it_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score"]) is ExitCode.WRONG_USE
    assert "name a CSV file" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "/nowhere/pairs.csv"]) is ExitCode.WRONG_USE
    assert "/nowhere/pairs.csv: No such file" in capsys.readouterr().err


def test_options_come_from_a_file_and_the_command_line_wins(pairs: Path) -> None:
    config = pairs.with_name("config.yaml")
    output = pairs.with_name("out.jsonl")
    config.write_text(
        f"csv_path: {pairs}\noutput: {output}\nlimit: 3\ncolumn-prefix: b32_\n"
        "use_cuda: false\nbatch_size: 2\n"
    )
    assert main(["score", "--config", str(config), "--limit", "2"]) is ExitCode.DONE
    rows = [json.loads(each) for each in lines_of(output)]
    assert [each["b32_rejection"] for each in rows] == [None, "timeout"]


def config_of(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_names_of_other_programs_are_understood(tmp_path: Path) -> None:
    text = "csv_path: p.csv\nimage_path: /images\nuse_cuda: true\npretrained_model: /clip\n"
    assert read_config(config_of(tmp_path, text + "allow_port: [8080]\nno_header: true\n")) == {
        "path": "p.csv", "image_root": "/images", "device": "cuda", "weights": "/clip",
        "allow_ports": [8080], "has_header": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour: red\n", "unknown option 'colour', known: .*csv_path"),
        ("weights: a\npretrained_model: b\n", "weights is given twice"),
        ("use_cuda: 1\n", "option use_cuda: 1 must be true or false"),
        ("- a\n", "must be a mapping of options"),
        ("a: [\n", "not valid YAML"),
        ("batchsize: 4\n", r"unknown option 'batchsize', did you mean batch_size\?"),
        ("colum-prefix: x\n", r"unknown option 'colum_prefix', did you mean column_prefix\?"),
        ("batch-size: 4\nbatch_size: 5\n", "batch_size is given twice"),
        ("limit: 4\nlimit: 5\n", "line 2: the key 'limit' stands here twice"),
        ("use_cuda: 1\nquiet: 'no'\n", "quiet: 'no' must.*\n.*use_cuda: 1 must be true"),
    ],
)
def test_a_file_of_options_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        read_config(config_of(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "value"),
    [("force", "yes"), ("limit", True), ("limit", 1.5), ("image_column", ["a"]), ("path", 5),
     ("max_rejection_rate", True), ("delimiter", "")],
)  # fmt: skip
def test_values_of_a_wrong_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsInvalid, match=f"option {name}: "):
        FileOptions.of({"path": "p.csv", name: value})


def test_every_option_of_the_scorer_is_checked() -> None:
    assert ScorerOptions.of({"tier": "int8"}).dtype is Dtype.INT8
    assert ScorerOptions.of({"tier": "int8"}).tier is Tier.FAST
    assert ScorerOptions.of({"allow_ports": "8080", "allow_hosts": "a.example"}) == ScorerOptions(
        allow_ports=(8080,), allow_hosts=("a.example",)
    )
    for name, value in {
        "weights": "", "dtype": "float8", "tier": "sharp", "batch_size": True, "threads": 0,
        "allow_networks": 5, "allow_ports": [0], "colour": "red",
    }.items():  # fmt: skip
        with pytest.raises(SettingsInvalid, match=name):
            ScorerOptions.of({name: value})


def test_what_is_not_an_option_of_a_file_is_left_out_of_it() -> None:
    assert merged({"command": print, "limit": 5, "path": Path("a")}) == {
        "limit": 5, "path": Path("a")
    }  # fmt: skip


def test_metrics_are_written_for_machines_and_for_people(pairs: Path) -> None:
    assert main(["score", str(pairs), "--metrics", str(pairs.with_name("m.json"))]) is ExitCode.DONE
    found = json.loads(pairs.with_name("m.json").read_text())
    assert (found["rows"], found["scored"], found["rejections"]) == (4, 3, {"timeout": 1})
    assert found["fingerprint"]["digest"] == PretendScorer.fingerprint.digest
    assert set(found["stage_seconds"]) == {"read", "fetch", "decode", "score", "commit"}
    assert {"verdict", "image_bytes", "peaks", "machine", "device"} <= set(found)
    text = pairs.with_name("m.txt").read_text()
    assert "timeout  1" in text
    assert found["fingerprint"]["digest"] in text


def test_figures_add_up_over_interrupted_calls(pairs: Path) -> None:
    pairs.write_text("url,caption\n" + "".join(f"{n}.jpg,c\n" for n in range(10)))
    metrics = pairs.with_name("m.json")
    assert (
        main(["score", str(pairs), "--batch-size", "2", "--metrics", str(metrics)]) is ExitCode.DONE
    )
    once = json.loads(metrics.read_text())
    assert (once["rows"], once["pairs_per_second"] > 0) == (10, True)


def said_by(*options: str, pairs: Path) -> list[str]:
    import subprocess

    talking = [each for each in command(pairs, *options) if each != "--quiet"]
    done = subprocess.run(
        talking, env=environment(), cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()


def test_json_logs_are_lines_of_json(pairs: Path) -> None:
    said = [json.loads(each) for each in said_by("--json-logs", pairs=pairs)]
    assert said[0]["event"] == "begin"
    assert "columns url, caption" in said[0]["text"]


def test_another_delimiter_is_told(pairs: Path) -> None:
    pairs.write_text(pairs.read_text().replace(",", ";"))
    assert "delimiter ; (--delimiter says otherwise)" in said_by(pairs=pairs)[0]


def test_quiet_says_nothing(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(pairs), "--quiet"]) is ExitCode.DONE
    assert capsys.readouterr() == ("", "")


def read_all(terminal: int) -> str:
    found = b""
    try:
        while block := os.read(terminal, 1024):
            found += block
    except OSError:  # how a terminal ends whose other side is gone
        pass
    return found.decode(errors="replace")


def on_terminal(arguments: Sequence[str]) -> str:
    """What a person sees of the command."""
    import subprocess

    master, slave = pty.openpty()
    running = subprocess.Popen(
        arguments, env={**environment(), "TERM": "xterm"}, cwd=REPOSITORY, stderr=slave,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(slave)
    seen = read_all(master)
    os.close(master)
    assert running.wait() == 0
    return seen


def test_a_terminal_gets_a_bar_with_rate_and_rejections(pairs: Path) -> None:
    pairs.write_text("url,caption\n" + "".join(f"{n}.jpg,[red]c\n" for n in range(30_000)))
    seen = on_terminal([each for each in command(pairs) if each != "--quiet"])
    assert "pairs/s" in seen
    assert "rejected" in seen


def test_the_rate_leaves_out_what_came_before_the_first_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("clip_scoring.cli.console.monotonic", lambda: now[0])
    rate = Rate()
    assert rate.figures(files.Progress(64, 0, 0.1)) == {"pairs_per_second": 0.0, "left_s": None}
    now[0] += 2.0
    figures = rate.figures(files.Progress(164, 0, 0.3))
    assert figures["pairs_per_second"] == 50.0
    assert figures["left_s"] == pytest.approx(7.0)
