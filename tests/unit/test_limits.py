"""Each limit is one number, in the form, on the command line and in the library."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from clip_scoring.cli import parser
from clip_scoring.errors import SettingsInvalid
from clip_scoring.models.fake import FAKE_FINGERPRINT
from clip_scoring.runs import RunRequest, Trigger, Window, WindowKind
from clip_scoring.settings.run_options import RunOptions
from clip_scoring.settings.scorer_options import ScorerChoices, ScorerOptions

DAY = date(2026, 1, 1)
WINDOW = Window.of_day(DAY, WindowKind.DAY)


def core(name: str, value: int) -> object:
    return RunRequest("k", "records", FAKE_FINGERPRINT, WINDOW, Trigger.CLI, **{name: value})  # type: ignore[arg-type]


def run_options(name: str, value: int) -> object:
    return RunOptions.of_params({"day": DAY, name: value})


def typed_options(name: str, value: int) -> object:
    return RunOptions.of_params({"day": str(DAY), name: str(value)})


def command_options(name: str, value: int) -> object:
    option = f"--{name.replace('_', '-')}"
    given = parser().parse_args(["plan", "--day", str(DAY), option, str(value)])
    return RunOptions.of_params({"day": given.day, name: getattr(given, name)})


def scorer_options(name: str, value: int) -> object:
    return ScorerOptions.of({name: value})


def form(name: str, value: int) -> object:
    from airflow.sdk.exceptions import ParamValidationError

    from clip_airflow.params import run_params

    try:
        return run_params()[name].resolve(value)
    except ParamValidationError as wrong:
        raise SettingsInvalid(str(wrong)) from wrong


RUN: list[Callable[[str, int], object]] = [core, run_options, typed_options, command_options, form]


@pytest.mark.parametrize(
    ("name", "most", "take"),
    [
        (name, most, take)
        for name, most, takers in (
            ("batch_size", 4096, [*RUN, scorer_options]),
            ("shard_size", 10_000_000, RUN),
            ("limit", 10**12, RUN),
        )
        for take in takers
    ],
)
def test_a_limit_is_the_same_wherever_the_value_is_given(
    name: str, most: int, take: Callable[[str, int], object]
) -> None:
    take(name, 1)
    take(name, most)
    for outside in (0, most + 1):
        with pytest.raises(SettingsInvalid):
            take(name, outside)


@pytest.mark.parametrize("days", ["retry_days", "measure_days"])
def test_the_form_of_maintenance_has_the_limits_of_the_library(days: str) -> None:
    from clip_airflow.maintenance import maintain_params

    schema: dict[str, Any] = maintain_params()[days].serialize()["schema"]
    assert (schema["minimum"], schema["maximum"]) == (1, 3650)


def test_choices_of_callers_and_options_of_the_library_have_the_same_names() -> None:
    assert list(ScorerChoices.__annotations__) == list(ScorerOptions.__dataclass_fields__)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"batch_size": 4097}, "batch_size: 4097 must be a whole number from 1 to 4096"),
        ({"allow_ports": [80, 65536]}, r"allow_ports\[1\]: 65536 must be a whole number from 1"),
        (
            {"allow_networks": ["10.0.0.1/8"]},
            r"allow_networks\[0\]: '10.0.0.1/8' must be a network",
        ),
        ({"allow_hosts": "a:80"}, r"allow_hosts\[0\]: 'a:80' must be the name of a host"),
        ({"egress_proxy": "http://u:pw@p"}, "egress_proxy: 'http://p' must be http://host:port"),
        ({"batchsize": 4}, "unknown option 'batchsize', did you mean batch_size"),
    ],
)
def test_a_wrong_choice_names_its_place_its_value_and_what_it_must_be(
    choices: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        ScorerOptions.of(choices)


def test_a_host_may_be_given_in_any_case() -> None:
    assert ScorerOptions.of({"allow_hosts": "A.Example"}).allow_hosts == ("a.example",)
