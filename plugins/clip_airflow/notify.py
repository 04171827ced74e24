"""Telling people about a run, by e-mail and webhook."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from clip_airflow.links import run_page
from clip_airflow.params import options_of
from clip_scoring.display import redacted
from clip_scoring.errors import ClipScoringError, SettingsInvalid

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

    from clip_scoring.runs import RunSummary

MAIL = "clip_scoring_smtp"
"""A connection of type smtp, whose extra holds `from_email` and `to_email`."""
WEBHOOK = "clip_scoring_webhook"
"""A connection of type http; its password is the bearer token."""
FAILURE, FIGURES = "failure", "figures"
"""The XComs in which tasks leave what went wrong and what the run came to."""

_TASKS = ("plan", "score", "finish")
_SHOWN = ("planned", "scored", "rejected", "pending", "rejection_rate")
_MOST_FAILURES = 20
_TIMEOUT_S = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One message: plain values without captions and addresses of records."""

    subject: str
    facts: Mapping[str, object]
    failures: tuple[str, ...] = ()
    link: str = ""

    def text(self) -> str:
        """For people, one fact or failure a line."""
        lines = [self.subject, ""]
        lines += [f"{name.replace('_', ' ')}: {value}" for name, value in self.facts.items()]
        lines += ["", *(f"- {failure}" for failure in self.failures)] if self.failures else []
        return "\n".join([*lines, "", self.link])

    def html(self) -> str:
        """The text as it is, whatever it contains."""
        return f"<pre>{html.escape(self.text())}</pre>"

    def json(self) -> dict[str, object]:
        """For programs; `text` for those that only show something."""
        said = {"subject": self.subject, "text": self.text(), "link": self.link}
        return {**said, **self.facts, "failures": list(self.failures)}


def figures_of(summary: RunSummary) -> dict[str, object]:
    """The message about a run that is over."""
    return {
        "planned": summary.planned,
        "scored": summary.scored,
        "rejected": summary.rejected,
        "pending": summary.pending,
        "rejection_rate": round(summary.rejection_rate, 4),
        "failures": list(map(redacted, _at_most(summary.failures))),
    }


def _at_most(failures: Sequence[str]) -> tuple[str, ...]:
    more = len(failures) - _MOST_FAILURES
    return (*failures[:_MOST_FAILURES], *([f"and {more} more"] if more > 0 else []))


def notify_failure(context: Context) -> None:
    """`on_failure_callback` of the DAG: one message for each run that turns red.

    Of the DAG and not of its tasks, since the scheduler asks for it however the last task ended:
    no callback of a task runs where its process was killed. It runs in the DAG processor.
    """
    _send(failure_message(context))


def failure_message(context: Context) -> Message:
    """The message about a failed run: its figures where it came so far, and the errors."""
    run_key = f"{context['dag'].dag_id}/{context['run_id']}"
    figures: dict[str, Any] = next(iter(_pull_failures(context, "finish", FIGURES)), {})
    words = [
        f"{task}: {word}" for task in _TASKS for word in _pull_failures(context, task, FAILURE)
    ]
    failures = tuple(map(redacted, (*figures.get("failures", ()), *_at_most(words))))
    return Message(
        subject=f"{run_key} failed",
        facts={
            "run": run_key,
            **_choices(context),
            **{name: figures[name] for name in _SHOWN if name in figures},
        },
        failures=failures or (_no_error_recorded(context),),
        link=run_page(run_key),
    )


def _pull_failures(context: Context, task_id: str, key: str) -> list[Any]:
    """From every instance of the task, each value once; empty where no task has failed."""
    ti = context.get("ti")
    try:
        pulled = ti.xcom_pull(task_ids=task_id, key=key) if ti else None
    except Exception as error:  # noqa: BLE001  # to say less is better than to say nothing
        _log.error("XCom %s of %s cannot be read: %s", key, task_id, type(error).__name__)
        return []
    if isinstance(pulled, list):  # a mapped task
        return list(dict.fromkeys(pulled))
    return [] if pulled is None else [pulled]


def _choices(context: Context) -> dict[str, str]:
    try:
        options = options_of(context)
    except (KeyError, SettingsInvalid):  # no task has failed, or the choices are the failure
        return {}
    return {"day": str(options.day), "source": options.source}


def _no_error_recorded(context: Context) -> str:
    ti = context.get("ti")
    if ti is None:
        return f"no task failed: {redacted(str(context.get('reason')))}"
    return f"task {ti.task_id} ended without a word; its log may know more"


def _send(message: Message) -> None:
    """To everybody that a connection leads to; who cannot be reached stops nobody else."""
    channels: Mapping[str, Callable[[Message, Connection], None]] = {WEBHOOK: _post, MAIL: _mail}
    for name, send in channels.items():
        try:
            send(message, BaseHook.get_connection(name))
        except AirflowNotFoundException:
            _log.info("no connection %s: nothing is sent there", name)
        except ClipScoringError as wrong:
            _log.error("nothing was sent to %s: %s", name, wrong)
        except Exception as error:  # noqa: BLE001  # whatever a hook raises; its text may tell secrets
            _log.error("nothing was sent to %s: %s", name, type(error).__name__)
        else:
            _log.info("sent to %s: %s", name, message.subject)


# Both notifiers are told to `notify` and not called: a call takes their texts for templates, and
# an error may quote what somebody typed into the form.


def _post(message: Message, to: Connection) -> None:
    from airflow.providers.http.notifications.http import HttpNotifier  # noqa: PLC0415

    # Where it leads is the only secret of many webhooks, and Airflow's hook logs it.
    mask_secret(urlsplit(to.host or "").path)
    HttpNotifier(
        http_conn_id=WEBHOOK,
        json=message.json(),
        headers={"Authorization": f"Bearer {to.password}"} if to.password else None,
        extra_options={"timeout": _TIMEOUT_S},
    ).notify({})


def _mail(message: Message, to: Connection) -> None:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier  # noqa: PLC0415

    recipients = to.extra_dejson.get("to_email")
    if not recipients:
        raise SettingsInvalid(f"connection {MAIL}: `to_email` is missing in its extra")
    SmtpNotifier(
        smtp_conn_id=MAIL,
        to=recipients,
        subject=message.subject,
        html_content=message.html(),
    ).notify({})
