-- SQL behind the pages: reads only, under clip_reader; each answers by an index however much there is.

-- name: older_runs
-- Runs below an id, newest first; counters of runs under way come from their shards.
SELECT run.id, run.run_key, run.source, run."trigger", run.state, run.window_start, run.window_stop,
       run.planned, run.started_at, run.finished_at, run.wall_seconds, run.bottleneck,
       coalesce(live.scored, run.scored) AS scored,
       coalesce(live.rejected, run.rejected) AS rejected,
       coalesce(NOT live.alive, false) AS stalled
FROM clip.run LEFT JOIN LATERAL (
    SELECT CAST(sum(scored) AS bigint) AS scored, CAST(sum(rejected) AS bigint) AS rejected,
           bool_or(lease_until > now()) AS alive
    FROM clip.shard WHERE run_id = run.id AND run.state = 'running') AS live ON true
WHERE run.id < :edge
  AND (CAST(:source AS text) IS NULL OR run.source = :source)
  AND (CAST(:state AS text) IS NULL OR run.state = :state)
  AND (CAST(:trigger AS text) IS NULL OR run."trigger" = :trigger)
ORDER BY run.id DESC LIMIT :most;

-- name: newer_runs
-- Ids of the runs above one, oldest first, to find where the page before begins.
SELECT run.id FROM clip.run
WHERE run.id > :edge
  AND (CAST(:source AS text) IS NULL OR run.source = :source)
  AND (CAST(:state AS text) IS NULL OR run.state = :state)
  AND (CAST(:trigger AS text) IS NULL OR run."trigger" = :trigger)
ORDER BY run.id LIMIT :most;

-- name: days
-- What finished runs came to on each UTC day that they began.
SELECT CAST(started_at AT TIME ZONE 'UTC' AS date) AS day, count(*) AS runs,
       count(*) FILTER (WHERE state = 'failed') AS failed,
       CAST(sum(scored) AS bigint) AS scored, CAST(sum(rejected) AS bigint) AS rejected,
       sum(wall_seconds) AS wall_seconds
FROM clip.run
WHERE started_at >= :since AND state IN ('succeeded', 'failed')
  AND (CAST(:source AS text) IS NULL OR source = :source)
GROUP BY 1 ORDER BY 1;

-- name: run_in_full
-- One run with its fingerprint; the live figures are those of its shards.
SELECT run.id, run.run_key, run.source, run."trigger", run.state, run.window_start, run.window_stop,
       run.planned, run.reserved, run.arrived, run.vanished, run.scored, run.rejected, run.started_at,
       run.finished_at, run.wall_seconds, run.bottleneck, run.metrics, run.fingerprint_id,
       fingerprint.digest, fingerprint.parts, now() AS as_of,
       live.live_scored, live.live_rejected,
       run.state = 'running' AND NOT coalesce(live.alive, true) AS stalled
FROM clip.run JOIN clip.fingerprint ON fingerprint.id = run.fingerprint_id
LEFT JOIN LATERAL (
    SELECT CAST(sum(scored) AS bigint) AS live_scored,
           CAST(sum(rejected) AS bigint) AS live_rejected, bool_or(lease_until > now()) AS alive
    FROM clip.shard WHERE run_id = run.id) AS live ON true
WHERE run.id = :run_id;

-- name: run_id_of_key
-- The run that a DAG run planned.
SELECT id FROM clip.run WHERE run_key = :run_key;

-- name: histograms_before
-- Of the succeeded runs of the same scope that came before a run, newest first.
SELECT metrics -> 'histogram' AS histogram FROM clip.run
WHERE source = :source AND fingerprint_id = :fingerprint_id AND state = 'succeeded'
  AND id < :run_id AND scored > 0 AND jsonb_exists(metrics, 'histogram')
ORDER BY id DESC LIMIT :most;

-- name: shards_of_page
-- Each shard of a run; its seconds are those between its batches.
SELECT number, start_key, stop_key, "offset", state, epoch, tries, planned, scored, rejected,
       CASE WHEN state = 'open' THEN worker END AS worker, device, lease_until > now() AS leased,
       coalesce(measures -> 'seconds', '{}') AS seconds
FROM clip.shard WHERE run_id = :run_id ORDER BY number;

-- name: reasons_of_page
-- A run's rejections by reason, counted up to a limit, and when the next ones are tried again.
SELECT reason, counted.n AS records, coming.next_due
FROM unnest(CAST(:reasons AS text[])) AS reason
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM (
        SELECT FROM clip.rejection WHERE run_id = :run_id AND rejection.reason = reason.reason
        LIMIT :most) AS counted_rows) AS counted
CROSS JOIN LATERAL (
    SELECT min(next_attempt_at) AS next_due FROM clip.rejection
    WHERE run_id = :run_id AND rejection.reason = reason.reason) AS coming
WHERE counted.n > 0 ORDER BY counted.n DESC, reason;

-- name: scores_of_keys
-- Scores of some records under one fingerprint.
SELECT record_key, similarity FROM clip.score
WHERE source = :source AND fingerprint_id = :fingerprint_id
  AND record_key = ANY (CAST(:keys AS text[]));

-- name: outcomes_of_record
-- All outcomes of one record, the newest first.
SELECT fingerprint.digest, fingerprint.parts, similarity, caption_truncated, NULL AS reason,
       NULL AS detail, NULL::integer AS attempts, NULL::timestamptz AS next_attempt_at,
       run_id, scored_at AS at
FROM clip.score JOIN clip.fingerprint ON fingerprint.id = score.fingerprint_id
WHERE source = :source AND record_key = :key
UNION ALL
SELECT fingerprint.digest, fingerprint.parts, NULL, NULL, reason, detail, attempts,
       next_attempt_at, run_id, rejected_at
FROM clip.rejection JOIN clip.fingerprint ON fingerprint.id = rejection.fingerprint_id
WHERE source = :source AND record_key = :key
ORDER BY at DESC;
