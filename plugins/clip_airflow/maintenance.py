"""Operator and form of the DAG that tidies up every week."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator, Param

from clip_airflow.connections import worker_settings
from clip_scoring.settings.fields import Days, bounds

if TYPE_CHECKING:
    from airflow.sdk import Context

# clip_scoring.nightly is imported inside execute: it loads a database driver, which parsing a DAG
# may not need.


def maintain_params() -> dict[str, Param]:
    """How old something must be before it is let go."""
    return {
        "retry_days": Param(
            30, type="integer", **bounds(Days), title="Days of retries",
            description="A rejection that has been due for longer, and that no run takes up, is "
            "not tried again.",
        ),
        "measure_days": Param(
            90, type="integer", **bounds(Days), title="Days of measures",
            description="What each shard took is forgotten so long after its run; the sums of the "
            "run stay.",
        ),
    }  # fmt: skip


class MaintainOperator(BaseOperator):
    """Lets go of what nobody needs any more; never of an outcome."""

    def execute(self, context: Context) -> dict[str, int]:
        """How many of each were let go."""
        from clip_scoring.nightly.maintenance import maintain  # noqa: PLC0415

        days = {name: context["params"][name] for name in maintain_params()}
        done = maintain(worker_settings(), **days)
        for name, count in done.items():
            self.log.info("%s: %d", name, count)
        return done
