"""From a DAG run to the library's options."""

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype
from clip_scoring.runs import RunRequest, Trigger, Window, WindowKind
from clip_scoring.settings.run_options import RunOptions


def context(run_type: str, partition: str | None, **params: object) -> dict[str, Any]:
    from clip_airflow.params import run_params

    form = {name: param.resolve() for name, param in run_params().items()}
    dag_run = SimpleNamespace(
        dag_id="clip_scoring",
        run_id="a run",
        run_type=run_type,
        partition_key=partition,
        run_after=datetime(2026, 5, 6, 7, tzinfo=UTC),
    )
    return {"dag_run": dag_run, "params": {**form, **params}}


@pytest.mark.parametrize(("run_type", "trigger", "window"), [
    ("scheduled", Trigger.SCHEDULED, WindowKind.UP_TO_DAY),
    ("backfill", Trigger.BACKFILL, WindowKind.DAY),
    ("manual", Trigger.MANUAL, WindowKind.UP_TO_DAY),
    ("asset_triggered", Trigger.SCHEDULED, WindowKind.UP_TO_DAY),
    ("operator_triggered", Trigger.MANUAL, WindowKind.UP_TO_DAY),
])  # fmt: skip
def test_the_kind_of_run_decides_trigger_and_window(
    run_type: str, trigger: Trigger, window: WindowKind
) -> None:
    from clip_airflow.params import options_of, trigger_of

    given = context(run_type, "2026-01-03")
    options = options_of(given)
    assert (trigger_of(given), options.window, options.day) == (trigger, window, date(2026, 1, 3))


def test_the_untouched_form_leaves_the_choice_to_the_product() -> None:
    from clip_airflow.params import options_of

    options = options_of(context("manual", None))
    assert (options.day, options.weights, options.dtype) == (date(2026, 5, 6), None, None)
    assert (options.limit, options.max_rejection_rate, options.dry_run) == (None, None, False)


def test_the_form_wins_over_partition_and_kind_of_run() -> None:
    from clip_airflow.params import options_of

    options = options_of(
        context("backfill", "2026-01-03", day="2026-02-01", window="up_to_day", dtype="float32")
    )
    assert options.day == date(2026, 2, 1)
    assert (options.window, options.dtype) == (WindowKind.UP_TO_DAY, Dtype.FLOAT32)


@pytest.mark.parametrize(("name", "value"), [
    ("day", "'; DROP SCHEMA clip; --"),
    ("window", "{{ conn.clip_scoring_db }}"),
    ("rescore", "everything"),
    ("limit", "1 OR 1=1"),
    ("dtype", "int4"),
    ("table", "pg_authid"),
])  # fmt: skip
def test_what_was_typed_past_the_form_is_refused_in_the_task(name: str, value: str) -> None:
    from clip_airflow.params import options_of

    with pytest.raises(SettingsInvalid, match=f"parameter '?{name}"):
        options_of(context("manual", None, **{name: value}))


def test_a_run_is_found_again_by_dag_and_run_id() -> None:
    from clip_airflow.params import run_key_of

    assert run_key_of(context("manual", None)) == "clip_scoring/a run"


def schemas() -> dict[str, dict[str, Any]]:
    """What the form knows of each parameter."""
    from clip_airflow.params import run_params

    return {name: param.serialize() for name, param in run_params().items()}


@pytest.mark.parametrize("name", RunOptions.__dataclass_fields__)
def test_the_form_explains_and_bounds_each_parameter(name: str) -> None:
    param = schemas()[name]
    schema = param["schema"]
    assert param["description"]
    assert schema["title"]
    assert schema["section"] in {"What", "How", "Quality gates"}
    bounded = {
        "boolean": set(),
        "number": {"minimum", "maximum"},
        "integer": {"minimum", "maximum"},
    }
    [kind] = {schema["type"]} if isinstance(schema["type"], str) else {*schema["type"]} - {"null"}
    assert bounded.get(kind, set()) <= set(schema)
    assert kind != "string" or "enum" in schema or "pattern" in schema


@pytest.mark.parametrize(("name", "least", "most"), [
    ("batch_size", 1, 4096), ("shard_size", 1, 10_000_000),
])  # fmt: skip
def test_the_form_has_the_bounds_of_the_library(name: str, least: int, most: int) -> None:
    from clip_scoring.models.fake import FAKE_FINGERPRINT

    schema = schemas()[name]["schema"]
    assert (schema["minimum"], schema["maximum"]) == (least, most)
    window = Window.of_day(date(2026, 1, 1), WindowKind.DAY)
    for refused in (least - 1, most + 1):
        with pytest.raises(SettingsInvalid):
            RunRequest("k", "records", FAKE_FINGERPRINT, window, Trigger.CLI, **{name: refused})


@pytest.mark.parametrize("day", ["2026-1-1", "2026-01-01T00:00:00", "20260101", "2026-01-01\n"])
def test_the_form_refuses_a_day_of_another_form(day: str) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    from clip_airflow.params import run_params

    with pytest.raises(ParamValidationError):
        run_params()["day"].resolve(day)
