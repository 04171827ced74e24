"""Triggers that write down every step of every shard and outcome, and the invariants as SQL."""

from __future__ import annotations

HISTORY = """
CREATE TABLE step (
    n serial, transaction xid8, shard_id bigint, old_offset bigint, new_offset bigint,
    old_epoch int, new_epoch int, scored bigint, rejected bigint);
CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO step (transaction, shard_id, old_offset, new_offset, old_epoch, new_epoch, scored,
                      rejected)
    VALUES (pg_current_xact_id(), NEW.id, OLD."offset"::bigint, NEW."offset"::bigint, OLD.epoch,
            NEW.epoch, NEW.scored - OLD.scored, NEW.rejected - OLD.rejected);
    RETURN NEW;
END $$;
CREATE TRIGGER note_step AFTER UPDATE ON clip.shard FOR EACH ROW EXECUTE FUNCTION note_step();

CREATE TABLE writing (
    n serial, transaction xid8, shard_id bigint, record_key bigint, is_score boolean);
CREATE FUNCTION note_writing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO writing (transaction, shard_id, record_key, is_score)
    VALUES (pg_current_xact_id(), NEW.shard_id, NEW.record_key::bigint, TG_TABLE_NAME = 'score');
    RETURN NEW;
END $$;
CREATE TRIGGER note_score AFTER INSERT OR UPDATE OF input_md5 ON clip.score
    FOR EACH ROW EXECUTE FUNCTION note_writing();
CREATE TRIGGER note_rejection AFTER INSERT OR UPDATE OF input_md5 ON clip.rejection
    FOR EACH ROW EXECUTE FUNCTION note_writing();
"""

FORGET = (
    "TRUNCATE clip.record, clip.run, clip.shard, clip.score, clip.rejection, step, writing "
    "RESTART IDENTITY"
)

VIOLATIONS = """
WITH outcome AS (
    SELECT record_key::bigint AS record_key, shard_id, run_id, true AS is_score FROM clip.score
    UNION ALL
    SELECT record_key::bigint, shard_id, run_id, false FROM clip.rejection),
commits AS (
    SELECT step.*, lag(new_offset) OVER w AS offset_before, lag(new_epoch) OVER w AS epoch_before
    FROM step WINDOW w AS (PARTITION BY shard_id ORDER BY n))
SELECT 'counters are not what was written', id FROM clip.shard
WHERE scored <> (SELECT count(*) FROM writing WHERE shard_id = shard.id AND is_score)
   OR rejected <> (SELECT count(*) FROM writing WHERE shard_id = shard.id AND NOT is_score)
UNION ALL
SELECT 'rows exceed the counters', id FROM clip.shard
WHERE scored < (SELECT count(*) FROM outcome WHERE shard_id = shard.id AND is_score)
   OR rejected < (SELECT count(*) FROM outcome WHERE shard_id = shard.id AND NOT is_score)
UNION ALL
SELECT 'more than one outcome', record_key FROM outcome GROUP BY record_key HAVING count(*) > 1
UNION ALL
SELECT 'one shard wrote a record twice', record_key FROM writing
GROUP BY shard_id, record_key HAVING count(*) > 1
UNION ALL
SELECT 'an outcome is not by its last writer', record_key FROM outcome
WHERE (shard_id, is_score) <> (SELECT shard_id, is_score FROM writing
                               WHERE writing.record_key = outcome.record_key
                               ORDER BY n DESC LIMIT 1)
UNION ALL
SELECT 'an outcome is under a run that its shard does not belong to', record_key
FROM outcome JOIN clip.shard ON shard.id = shard_id WHERE shard.run_id <> outcome.run_id
UNION ALL
SELECT 'the offset fell or jumped', shard_id FROM commits
WHERE new_offset < old_offset OR old_offset <> offset_before
UNION ALL
SELECT 'the epoch fell', shard_id FROM commits
WHERE new_epoch < old_epoch OR old_epoch <> epoch_before
   OR (new_epoch <> old_epoch AND new_offset <> old_offset)
UNION ALL
SELECT 'a row was written without its checkpoint, or outside its batch', record_key FROM writing
WHERE NOT EXISTS (SELECT FROM step
                  WHERE step.transaction = writing.transaction
                    AND step.shard_id = writing.shard_id
                    AND record_key >= old_offset AND record_key < new_offset)
UNION ALL
SELECT 'a commit counted other than it wrote', shard_id FROM step
WHERE scored + rejected <> (SELECT count(*) FROM writing
                            WHERE writing.transaction = step.transaction
                              AND writing.shard_id = step.shard_id)
UNION ALL
SELECT 'two live runs work on the same keys', one.id
FROM clip.shard AS one JOIN clip.run AS one_run ON one_run.id = one.run_id
JOIN clip.shard AS two ON two.run_id > one.run_id
JOIN clip.run AS two_run ON two_run.id = two.run_id
WHERE one_run.state = 'running' AND two_run.state = 'running'
  AND one.state = 'open' AND two.state = 'open'
  AND one.worker IS NOT NULL AND two.worker IS NOT NULL
  AND one."offset" < two.stop_key AND two."offset" < one.stop_key
  AND coalesce(one_run.window_start, '-infinity') < two_run.window_stop
  AND coalesce(two_run.window_start, '-infinity') < one_run.window_stop
"""

SHARDS = """
WITH outcome AS (
    SELECT record_key, scored_at AS written_at, input_md5, NULL::timestamptz AS next_attempt_at,
           true AS is_score
    FROM clip.score
    UNION ALL
    SELECT record_key, rejected_at, input_md5, next_attempt_at, false FROM clip.rejection)
SELECT shard.id, run.run_key, number, "offset"::bigint, stop_key::bigint, shard.planned,
       shard.scored, shard.rejected, lease_until > now(), run.state,
       shard.state = 'open' AND worker IS NOT NULL,
       (SELECT count(*)
        FROM clip.record LEFT JOIN outcome ON outcome.record_key = record.key::text
        WHERE record.key >= start_key::bigint AND record.key < stop_key::bigint
          AND record.created_at < run.window_stop
          AND record.created_at >= coalesce(run.window_start, '-infinity')
          AND CASE WHEN outcome.record_key IS NULL THEN true
              WHEN run.rescore = 'all' THEN written_at < run.started_at
              WHEN outcome.input_md5 <> md5(image_uri || E'\\x1f' || caption)::uuid THEN true
              WHEN run.rescore = 'rejected' THEN NOT is_score AND written_at < run.started_at
              ELSE coalesce(outcome.next_attempt_at <= run.started_at, false) END),
       epoch
FROM clip.shard JOIN clip.run ON run.id = shard.run_id
ORDER BY shard.id
"""
"""Each shard as it stands, `pending` counted by a definition of its own."""

OUTCOMES = """
SELECT record_key::bigint, similarity::float8, NULL AS reason, shard_id, 1 AS attempts,
       'never' AS due
FROM clip.score
UNION ALL
SELECT record_key::bigint, NULL, reason, shard_id, attempts,
       CASE WHEN next_attempt_at IS NULL THEN 'never' WHEN next_attempt_at > now() THEN 'waits'
            ELSE 'due' END
FROM clip.rejection ORDER BY 1
"""

RUNS = "SELECT run_key, state, reserved FROM clip.run ORDER BY id"
