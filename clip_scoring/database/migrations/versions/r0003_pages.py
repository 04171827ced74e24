"""What pages about many runs read without opening each run's metrics."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE clip.run
    ADD COLUMN wall_seconds double precision
        GENERATED ALWAYS AS (CAST(metrics #>> '{stage_seconds,wall}' AS double precision)) STORED,
    ADD COLUMN bottleneck text GENERATED ALWAYS AS (metrics ->> 'bottleneck') STORED;
CREATE INDEX run_by_start ON clip.run (started_at);
DROP INDEX clip.run_by_source;
CREATE INDEX run_by_source ON clip.run (source, fingerprint_id, state, id);
CREATE INDEX rejection_by_reason ON clip.rejection (run_id, reason, next_attempt_at);
"""

DOWN = """
DROP INDEX clip.rejection_by_reason;
DROP INDEX clip.run_by_source;
CREATE INDEX run_by_source ON clip.run (source, fingerprint_id, state);
DROP INDEX clip.run_by_start;
ALTER TABLE clip.run DROP COLUMN wall_seconds, DROP COLUMN bottleneck;
"""


def upgrade() -> None:
    """Add generated columns and the indexes that the pages' queries go by."""
    op.execute(UP)


def downgrade() -> None:
    """Take them away again; nothing is lost."""
    op.execute(DOWN)
