"""The manifest of file sources, who works on a shard, and what its work took."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UP = """
-- One version of one file, with the keys of its rows. Nothing is ever changed here but
-- `retired_at`, so what a run planned stays readable as it was.
CREATE TABLE clip.object (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text NOT NULL,
    uri         text NOT NULL,
    version     text NOT NULL,
    size        bigint NOT NULL CHECK (size >= 0),
    event_time  timestamptz NOT NULL,
    first_key   bigint NOT NULL CHECK (first_key > 0),
    rows        bigint NOT NULL CHECK (rows >= 0),
    marks       jsonb NOT NULL,
    listed_at   timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz,
    UNIQUE (source, uri, version)
);
CREATE INDEX object_by_key ON clip.object (source, first_key);

-- Rows that have names: an outcome belongs to the name, whatever row of which version it stood in.
CREATE TABLE clip.object_row (
    object_id   bigint NOT NULL REFERENCES clip.object,
    key         bigint NOT NULL,
    record_key  text COLLATE "C" NOT NULL,
    input_md5   uuid NOT NULL,
    PRIMARY KEY (object_id, key),
    UNIQUE (object_id, record_key)
);

CREATE VIEW clip.file_similarity AS
SELECT object.source, object.uri, numbered.key - object.first_key AS row_number,
       similarity.record_key, fingerprint_id, similarity, clip_score, similarity_01,
       caption_truncated, rejection_reason, run_id
FROM clip.object
CROSS JOIN LATERAL generate_series(first_key, first_key + rows - 1) AS numbered (key)
LEFT JOIN clip.object_row ON object_row.object_id = object.id AND object_row.key = numbered.key
JOIN clip.similarity
     ON similarity.source = object.source
     AND similarity.record_key = coalesce(object_row.record_key, CAST(numbered.key AS text))
WHERE object.retired_at IS NULL;

ALTER TABLE clip.shard RENAME COLUMN stage_seconds TO measures;
UPDATE clip.shard SET measures = jsonb_build_object('seconds', measures) WHERE measures <> '{}';
ALTER TABLE clip.shard
    ADD COLUMN tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    ADD COLUMN worker text,
    ADD COLUMN device text;

ALTER TABLE clip.run DROP CONSTRAINT run_state_check;
ALTER TABLE clip.run ADD CONSTRAINT run_state_check
    CHECK (state IN ('running', 'succeeded', 'failed', 'abandoned'));

-- Every commit locks its shard's row first, and that row refers to its run: checking the same
-- again for each outcome took more than half of the time.
ALTER TABLE clip.score DROP CONSTRAINT score_fingerprint_id_fkey,
    DROP CONSTRAINT score_run_id_fkey, DROP CONSTRAINT score_shard_id_fkey;
ALTER TABLE clip.rejection DROP CONSTRAINT rejection_fingerprint_id_fkey,
    DROP CONSTRAINT rejection_run_id_fkey, DROP CONSTRAINT rejection_shard_id_fkey;
"""

DOWN = """
ALTER TABLE clip.shard DROP COLUMN tries, DROP COLUMN worker, DROP COLUMN device;
UPDATE clip.shard SET measures = coalesce(measures -> 'seconds', '{}');
ALTER TABLE clip.shard RENAME COLUMN measures TO stage_seconds;
DROP VIEW clip.file_similarity;
DROP TABLE clip.object_row, clip.object;
UPDATE clip.run SET state = 'failed' WHERE state = 'abandoned';
ALTER TABLE clip.run DROP CONSTRAINT run_state_check;
ALTER TABLE clip.run ADD CONSTRAINT run_state_check
    CHECK (state IN ('running', 'succeeded', 'failed'));
ALTER TABLE clip.score ADD FOREIGN KEY (fingerprint_id) REFERENCES clip.fingerprint,
    ADD FOREIGN KEY (run_id) REFERENCES clip.run, ADD FOREIGN KEY (shard_id) REFERENCES clip.shard;
ALTER TABLE clip.rejection ADD FOREIGN KEY (fingerprint_id) REFERENCES clip.fingerprint,
    ADD FOREIGN KEY (run_id) REFERENCES clip.run, ADD FOREIGN KEY (shard_id) REFERENCES clip.shard;
"""


def upgrade() -> None:
    """Add what file sources and shared runs need."""
    op.execute(UP)


def downgrade() -> None:
    """Back to 0001; outcomes of file sources stay, but nobody knows their files any more."""
    op.execute(DOWN)
