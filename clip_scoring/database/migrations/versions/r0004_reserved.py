"""Records that another run works on are called reserved, in the table as everywhere else."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No row changes: `held` gets another name."""
    op.execute("ALTER TABLE clip.run RENAME COLUMN held TO reserved")


def downgrade() -> None:
    """The old name."""
    op.execute("ALTER TABLE clip.run RENAME COLUMN reserved TO held")
