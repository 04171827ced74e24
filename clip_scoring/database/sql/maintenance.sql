-- SQL that tidies up, under the rights of clip_worker; no outcome is ever deleted.

-- name: give_up_retries
-- Some rejections that have long been due and that nobody will take up: their source is not
-- registered any more, or a run of it that took everything as late as they are left them out.
-- None of a run under way, which would miss them.
UPDATE clip.rejection SET next_attempt_at = NULL
FROM (SELECT due.source, due.record_key, due.fingerprint_id
      FROM clip.rejection AS due
      WHERE due.next_attempt_at < now() - CAST(:age AS interval)
        AND (due.source <> ALL (CAST(:registered AS text[])) OR EXISTS (
                SELECT FROM clip.run AS later JOIN clip.run AS origin ON origin.id = due.run_id
                WHERE later.source = due.source AND later.state = 'succeeded'
                  AND later.started_at > due.next_attempt_at + CAST(:age AS interval)
                  AND later.window_start IS NULL AND later.window_stop >= origin.window_stop))
        AND NOT EXISTS (
                SELECT FROM clip.run AS live
                WHERE live.source = due.source AND live.fingerprint_id = due.fingerprint_id
                  AND live.state = 'running')
      LIMIT :most FOR UPDATE OF due SKIP LOCKED) AS expired
WHERE rejection.source = expired.source AND rejection.record_key = expired.record_key
  AND rejection.fingerprint_id = expired.fingerprint_id;

-- name: empty_measures
-- What the shards of some old runs took; the run's own metrics hold the sums.
UPDATE clip.shard SET measures = '{}'
FROM (SELECT shard.id FROM clip.shard JOIN clip.run ON run.id = shard.run_id
      WHERE run.state IN ('succeeded', 'failed') AND shard.measures <> '{}'
        AND run.finished_at < now() - CAST(:age AS interval)
      LIMIT :most FOR UPDATE OF shard SKIP LOCKED) AS old
WHERE shard.id = old.id;

-- name: runs_under_way
-- By name at least, and for long enough; with the scope that their planning locks.
SELECT run.id, run.run_key, run.source || '/' || fingerprint.digest AS scope
FROM clip.run JOIN clip.fingerprint ON fingerprint.id = run.fingerprint_id
WHERE run.state = 'running' AND run.started_at <= now() - CAST(:silence AS interval)
ORDER BY run.id;

-- name: try_lock_planning
-- False while a planning of the scope is under way: it does the same by itself.
SELECT pg_try_advisory_xact_lock(hashtextextended(:scope, 0));

-- name: lock_silent_shards
-- The unfinished shards of a run that nobody claims or commits at this moment.
SELECT id FROM clip.shard
WHERE run_id = :run_id AND state = 'open' AND lease_until <= now() - CAST(:silence AS interval)
ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: abandon_run
-- Unless one of its leases runs, or ran until lately, or somebody is about to take up a shard.
UPDATE clip.run SET state = 'abandoned', finished_at = now()
WHERE id = :run_id AND state = 'running' AND NOT EXISTS (
    SELECT FROM clip.shard
    WHERE run_id = :run_id AND (lease_until > now() - CAST(:silence AS interval)
                                OR (state = 'open' AND id <> ALL (CAST(:locked AS bigint[])))));

-- name: void_shards
-- A new epoch: a late commit must find nothing.
UPDATE clip.shard SET epoch = epoch + 1, worker = NULL WHERE id = ANY (:locked);
