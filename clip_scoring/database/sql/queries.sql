-- SQL that plans, claims and commits; each query has a name and says in one line what it is for.

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

-- name: reserved_ranges
-- Unfinished parts of other runs that are alive and whose windows overlap: a run whose every lease
-- ran out holds nothing, and two days have no record in common.
SELECT shard."offset" AS start, shard.stop_key AS stop
FROM clip.shard JOIN clip.run ON run.id = shard.run_id
WHERE run.source = :source AND run.fingerprint_id = :fingerprint_id
  AND run.state = 'running' AND run.id <> :run_id AND shard.state = 'open'
  AND (run.window_start IS NULL OR run.window_start < :window_stop)
  AND (CAST(:window_start AS timestamptz) IS NULL OR :window_start < run.window_stop)
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
UPDATE clip.run SET planned = :planned, reserved = :reserved WHERE id = :run_id;

-- name: shards_of_run
-- Shards by number.
SELECT id, number, start_key, stop_key, planned FROM clip.shard
WHERE run_id = :run_id ORDER BY number;

-- name: release_abandoned
-- Void every claim on runs that are under way in name only: a late commit must find nothing.
UPDATE clip.shard SET epoch = epoch + 1, worker = NULL
FROM clip.run
WHERE run.id = shard.run_id AND run.id <> :run_id AND run.source = :source
  AND run.fingerprint_id = :fingerprint_id AND run.state = 'running'
  AND shard.state = 'open' AND shard.lease_until <= now()
  AND NOT EXISTS (SELECT FROM clip.shard AS alive
                  WHERE alive.run_id = run.id AND alive.lease_until > now());

-- name: mark_abandoned
-- Such runs by name; claiming one of their shards takes the mark off again.
UPDATE clip.run SET state = 'abandoned', finished_at = now()
WHERE id <> :run_id AND source = :source AND fingerprint_id = :fingerprint_id
  AND state = 'running'
  AND NOT EXISTS (SELECT FROM clip.shard AS alive
                  WHERE alive.run_id = run.id AND alive.lease_until > now());

-- name: claim_shard
-- A new epoch: from here on every older claim on the shard writes nothing.
UPDATE clip.shard
SET epoch = epoch + 1, tries = tries + 1, lease_until = now() + :lease,
    worker = :worker, device = :device
WHERE id = :shard_id
RETURNING id, run_id, number, start_key, stop_key, "offset", epoch, tries;

-- name: claim_free_shard
-- The same for the first unfinished shard that nobody works on; two who ask get two shards.
UPDATE clip.shard
SET epoch = epoch + 1, tries = tries + 1, lease_until = now() + :lease,
    worker = :worker, device = :device
WHERE id = (SELECT id FROM clip.shard
            WHERE run_id = :run_id AND state = 'open'
              AND (worker IS NULL OR lease_until <= now())
            ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, run_id, number, start_key, stop_key, "offset", epoch, tries;

-- name: renew_lease
-- The worker is alive, although its batch takes long.
UPDATE clip.shard SET lease_until = now() + :lease
WHERE id = :shard_id AND epoch = :epoch AND state = 'open';

-- name: release_shard
-- The worker leaves in good order: the next one need not wait for the lease.
UPDATE clip.shard SET worker = NULL WHERE id = :shard_id AND epoch = :epoch;

-- name: run_of_shard
-- The key of the run that a shard belongs to.
SELECT run.run_key, run.state FROM clip.run JOIN clip.shard ON shard.run_id = run.id
WHERE shard.id = :shard_id;

-- name: rival_shards
-- Unfinished shards of other runs under way that may share records with this shard's rest.
SELECT other.id, other_run.run_key, other.lease_until > now() AS alive
FROM clip.shard AS mine JOIN clip.run AS my_run ON my_run.id = mine.run_id
JOIN clip.run AS other_run ON other_run.source = my_run.source
     AND other_run.fingerprint_id = my_run.fingerprint_id
     AND other_run.id <> my_run.id AND other_run.state = 'running'
     AND (other_run.window_start IS NULL OR other_run.window_start < my_run.window_stop)
     AND (my_run.window_start IS NULL OR my_run.window_start < other_run.window_stop)
JOIN clip.shard AS other ON other.run_id = other_run.id AND other.state = 'open'
WHERE mine.id = :shard_id AND other."offset" < mine.stop_key AND other.stop_key > mine."offset";

-- name: void_outlived
-- Claims whose leases ran out, on records that somebody else takes up now.
UPDATE clip.shard SET epoch = epoch + 1, worker = NULL
WHERE id = ANY (:shard_ids) AND lease_until <= now();

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
    measures = CAST(:measures AS jsonb), tries = 1, lease_until = now() + :lease
WHERE id = :shard_id AND epoch = :epoch AND "offset" = CAST(:old AS jsonb) AND state = 'open';

-- name: measures
-- What the shard's earlier commits took.
SELECT measures FROM clip.shard WHERE id = :shard_id;

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
INSERT INTO clip.rejection (source, record_key, fingerprint_id, reason, detail, attempts,
                            next_attempt_at, input_md5, run_id, shard_id)
SELECT :source, record_key, :fingerprint_id, reason, detail, attempt,
       CASE WHEN attempt < most_attempts THEN
           now() + least(first_wait * power(2, attempt - 1), 604800) * interval '1 s' END,
       input_md5, :run_id, :shard_id
FROM (SELECT given.*, CASE WHEN old.input_md5 = given.input_md5
                           THEN least(old.attempts, 1000) + 1 ELSE 1 END AS attempt
      FROM unnest(CAST(:keys AS text[]), CAST(:reasons AS text[]), CAST(:details AS text[]),
                  CAST(:first_waits AS integer[]), CAST(:most_attempts AS integer[]),
                  CAST(:input_md5s AS uuid[]))
           AS given (record_key, reason, detail, first_wait, most_attempts, input_md5)
      LEFT JOIN clip.rejection AS old
           ON old.source = :source AND old.record_key = given.record_key
           AND old.fingerprint_id = :fingerprint_id) AS rejection
ORDER BY record_key COLLATE "C"
ON CONFLICT (source, record_key, fingerprint_id) DO UPDATE
SET reason = excluded.reason, detail = excluded.detail, attempts = excluded.attempts,
    next_attempt_at = excluded.next_attempt_at, input_md5 = excluded.input_md5,
    run_id = excluded.run_id, shard_id = excluded.shard_id, rejected_at = now();

-- name: drop_rejections
-- A scored record is not rejected any more.
DELETE FROM clip.rejection
WHERE source = :source AND fingerprint_id = :fingerprint_id
  AND record_key = ANY (CAST(:keys AS text[]));

-- name: drop_scores
-- A record has one outcome: one that is rejected keeps no score, of older input or of an earlier run.
DELETE FROM clip.score
WHERE source = :source AND fingerprint_id = :fingerprint_id
  AND record_key = ANY (CAST(:keys AS text[]));

-- name: void_claims
-- The run is being closed: whoever still holds one of its unfinished shards is late, and a shard
-- that is taken up again later holds no other one.
UPDATE clip.shard
SET epoch = epoch + 1, worker = NULL, lease_until = least(lease_until, now())
WHERE run_id = :run_id AND state = 'open';

-- name: close_run
-- The run's figures and its final state.
UPDATE clip.run
SET state = :state, planned = :planned, arrived = :arrived, vanished = :vanished,
    scored = :scored, rejected = :rejected, finished_at = now(), metrics = CAST(:metrics AS jsonb)
WHERE id = :run_id;
