-- All SQL over our own tables; each query has a name and says in one line what it is for.

-- name: now
-- The database's clock, the only clock that decides anything.
SELECT now();

-- name: lock_planning
-- Planning of one source and fingerprint is serialised until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(:scope, 0));

-- name: register_fingerprint
-- Make sure that the fingerprint has a row.
INSERT INTO clip.fingerprint (digest, parts) VALUES (:digest, CAST(:parts AS jsonb))
ON CONFLICT (digest) DO NOTHING;

-- name: fingerprint_id
-- The id of a fingerprint that has been seen.
SELECT id FROM clip.fingerprint WHERE digest = :digest;

-- name: find_run
-- A run by its key, with its fingerprint.
SELECT run.*, fingerprint.parts
FROM clip.run JOIN clip.fingerprint ON fingerprint.id = run.fingerprint_id
WHERE run.run_key = :run_key;

-- name: open_run
-- A new run; its start is the instant that decides what is pending.
INSERT INTO clip.run
    (run_key, source, fingerprint_id, window_start, window_stop, "trigger", rescore, batch_size)
SELECT :run_key, :source, id, :window_start, :window_stop, :trigger, :rescore, :batch_size
FROM clip.fingerprint WHERE digest = :digest;

-- name: held_ranges
-- Unfinished parts of other runs that are alive: one whose every lease ran out holds nothing.
SELECT shard."offset" AS start, shard.stop_key AS stop
FROM clip.shard JOIN clip.run ON run.id = shard.run_id
WHERE run.source = :source AND run.fingerprint_id = :fingerprint_id
  AND run.state = 'running' AND run.id <> :run_id AND shard.state = 'open'
  AND EXISTS (SELECT FROM clip.shard AS alive
              WHERE alive.run_id = run.id AND alive.lease_until > now());

-- name: add_shards
-- The shards of a run, all at once; an unclaimed shard has a lease too, so that a queue may wait.
INSERT INTO clip.shard (run_id, number, start_key, stop_key, "offset", planned, lease_until)
SELECT :run_id, number, start_key, stop_key, start_key, planned, now() + :lease
FROM unnest(CAST(:numbers AS integer[]), CAST(:starts AS jsonb[]), CAST(:stops AS jsonb[]),
            CAST(:planned AS bigint[])) AS shard (number, start_key, stop_key, planned);

-- name: note_planned
-- What planning found.
UPDATE clip.run SET planned = :planned, held = :held WHERE id = :run_id;

-- name: shards_of_run
-- Shards by number, with the range in words.
SELECT id, number, start_key, stop_key, planned FROM clip.shard
WHERE run_id = :run_id ORDER BY number;

-- name: claim_shard
-- A new epoch: from here on every older claim on the shard writes nothing.
UPDATE clip.shard SET epoch = epoch + 1, lease_until = now() + :lease
WHERE id = :shard_id
RETURNING id, run_id, number, start_key, stop_key, "offset", epoch;

-- name: run_of_shard
-- The key of the run that a shard belongs to.
SELECT run.run_key, run.state FROM clip.run JOIN clip.shard ON shard.run_id = run.id
WHERE shard.id = :shard_id;

-- name: overlapping_runs
-- Live runs of the same source and fingerprint with unfinished shards over this shard's range.
SELECT DISTINCT other_run.run_key
FROM clip.shard AS mine JOIN clip.run AS my_run ON my_run.id = mine.run_id
JOIN clip.run AS other_run ON other_run.source = my_run.source
     AND other_run.fingerprint_id = my_run.fingerprint_id
     AND other_run.id <> my_run.id AND other_run.state = 'running'
JOIN clip.shard AS other ON other.run_id = other_run.id AND other.state = 'open'
     AND other.lease_until > now()
WHERE mine.id = :shard_id AND other."offset" < mine.stop_key AND other.stop_key > mine."offset";

-- name: reopen_run
-- A shard of a finished run was claimed again, so the run is under way again.
UPDATE clip.run SET state = 'running', finished_at = NULL
WHERE id = :run_id AND state <> 'running';

-- name: move_checkpoint
-- First statement of each commit: no row changed means that the claim is void.
UPDATE clip.shard
SET "offset" = CAST(:new AS jsonb),
    scored = scored + :scored, rejected = rejected + :rejected,
    state = CASE WHEN stop_key = CAST(:new AS jsonb) THEN 'done' ELSE state END,
    stage_seconds = CAST(:stage_seconds AS jsonb),
    lease_until = now() + :lease
WHERE id = :shard_id AND epoch = :epoch AND "offset" = CAST(:old AS jsonb) AND state = 'open';

-- name: stage_seconds
-- What the shard's earlier commits took.
SELECT stage_seconds FROM clip.shard WHERE id = :shard_id;

-- name: checkpoint
-- Where a shard stands; asked when the answer to a COMMIT was lost.
SELECT "offset", epoch FROM clip.shard WHERE id = :shard_id;

-- name: put_scores
-- Scores in key order, since unsorted upserts of two writers deadlock.
INSERT INTO clip.score (source, record_key, fingerprint_id, similarity, caption_truncated,
                        input_md5, run_id, shard_id)
SELECT :source, record_key, :fingerprint_id, similarity, caption_truncated, input_md5,
       :run_id, :shard_id
FROM unnest(CAST(:keys AS text[]), CAST(:similarities AS real[]), CAST(:truncated AS boolean[]),
            CAST(:input_md5s AS uuid[]))
     AS score (record_key, similarity, caption_truncated, input_md5)
ORDER BY record_key COLLATE "C"
ON CONFLICT (source, record_key, fingerprint_id) DO UPDATE
SET similarity = excluded.similarity, caption_truncated = excluded.caption_truncated,
    input_md5 = excluded.input_md5, run_id = excluded.run_id, shard_id = excluded.shard_id,
    scored_at = now();

-- name: put_rejections
-- Rejections in key order; the wait doubles with each attempt on the same input, up to a week.
INSERT INTO clip.rejection (source, record_key, fingerprint_id, reason, detail, next_attempt_at,
                            input_md5, run_id, shard_id)
SELECT :source, record_key, :fingerprint_id, reason, detail, now() + retry_seconds * interval '1 s',
       input_md5, :run_id, :shard_id
FROM unnest(CAST(:keys AS text[]), CAST(:reasons AS text[]), CAST(:details AS text[]),
            CAST(:retry_seconds AS integer[]), CAST(:input_md5s AS uuid[]))
     AS rejection (record_key, reason, detail, retry_seconds, input_md5)
ORDER BY record_key COLLATE "C"
ON CONFLICT (source, record_key, fingerprint_id) DO UPDATE
SET reason = excluded.reason, detail = excluded.detail,
    attempts = CASE WHEN rejection.input_md5 = excluded.input_md5
                    THEN rejection.attempts + 1 ELSE 1 END,
    next_attempt_at = now() + least(
        (excluded.next_attempt_at - now())
        * CASE WHEN rejection.input_md5 = excluded.input_md5
               THEN power(2, least(rejection.attempts, 20)) ELSE 1 END,
        interval '7 days'),
    input_md5 = excluded.input_md5, run_id = excluded.run_id, shard_id = excluded.shard_id,
    rejected_at = now();

-- name: drop_rejections
-- A scored record is not rejected any more.
DELETE FROM clip.rejection
WHERE source = :source AND fingerprint_id = :fingerprint_id AND record_key = ANY (:keys);

-- name: drop_scores
-- A record whose changed input is rejected keeps no score of its old input.
DELETE FROM clip.score
WHERE source = :source AND fingerprint_id = :fingerprint_id AND record_key = ANY (:keys);

-- name: recount
-- Each shard's own counters beside a count of the rows that carry it.
SELECT shard.number, shard.start_key, shard.stop_key, shard.state = 'done' AS done, shard.planned,
       shard.scored AS counted_scored, shard.rejected AS counted_rejected, shard.stage_seconds,
       (SELECT count(*) FROM clip.score
        WHERE run_id = shard.run_id AND shard_id = shard.id) AS scored,
       (SELECT count(*) FROM clip.rejection
        WHERE run_id = shard.run_id AND shard_id = shard.id) AS rejected
FROM clip.shard WHERE run_id = :run_id ORDER BY number;

-- name: close_run
-- The run's figures and its final state.
UPDATE clip.run
SET state = :state, planned = :planned, arrived = :arrived, vanished = :vanished,
    scored = :scored, rejected = :rejected, finished_at = now(), metrics = CAST(:metrics AS jsonb)
WHERE id = :run_id;

-- name: load_records
-- Put records into the default source; a record that is already there as given is left alone.
INSERT INTO clip.record (key, image_uri, caption, created_at)
SELECT * FROM unnest(CAST(:keys AS bigint[]), CAST(:image_uris AS text[]),
                     CAST(:captions AS text[]), CAST(:created AS timestamptz[]))
ON CONFLICT (key) DO UPDATE
SET image_uri = excluded.image_uri, caption = excluded.caption, updated_at = now()
WHERE (record.image_uri, record.caption) IS DISTINCT FROM (excluded.image_uri, excluded.caption);
