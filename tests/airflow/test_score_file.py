"""A file that is scored by the command line has the similarities of the nightly run, to the bit."""

from __future__ import annotations

import csv
import os
import struct
import subprocess
import sys
from pathlib import Path

from clip_scoring.records import Reason
from tests.support.night import SAMPLE_RECORDS, Night


def test_the_command_line_and_the_dag_give_the_same_bytes(night: Night, tmp_path: Path) -> None:
    assert night.ended(night.trigger("same-records")) == "success"
    by_dag = {
        str(key): (bits, reason)
        for key, bits, reason in night.world.sql(
            "SELECT record_key, encode(float4send(similarity), 'hex'), rejection_reason "
            "FROM clip.similarity"
        )
    }
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["key", "url", "caption"])
        rows.writerows(night.world.sql("SELECT key, image_uri, caption FROM clip.record"))
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CLIP_")}
    done = subprocess.run(
        (sys.executable, "-m", "clip_scoring", "score", str(path),
         "--image-root", str(night.site.state.sample), "--metrics", str(tmp_path / "m.json")),
        capture_output=True, check=False, text=True, env=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "pairs_scored.csv").open(encoding="utf-8", newline="") as stream:
        by_file = {row["key"]: row for row in csv.DictReader(stream)}
    assert len(by_file) == len(by_dag) == SAMPLE_RECORDS
    for key, (bits, reason) in by_dag.items():
        row = by_file[key]
        found = struct.pack(">f", float(row["similarity"])).hex() if bits else ""
        assert (found, row["rejection"] or None) == (bits or "", reason), key
        assert row["rejection"] in {"", *Reason}
    ((digest,),) = night.world.sql("SELECT digest FROM clip.fingerprint")
    assert str(digest) in (tmp_path / "m.json").read_text()
