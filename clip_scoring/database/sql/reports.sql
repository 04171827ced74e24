-- SQL that counts and shows what came of runs; it changes nothing.

-- name: recount
-- Each shard's own counters beside a count of the rows that carry it.
SELECT shard.number, shard.start_key, shard.stop_key, shard.state = 'done' AS done, shard.planned,
       shard.scored AS counted_scored, shard.rejected AS counted_rejected,
       shard.measures, shard.device,
       (SELECT count(*) FROM clip.score
        WHERE run_id = shard.run_id AND shard_id = shard.id) AS scored,
       (SELECT count(*) FROM clip.rejection
        WHERE run_id = shard.run_id AND shard_id = shard.id) AS rejected
FROM clip.shard WHERE run_id = :run_id ORDER BY number;

-- name: superseding
-- What other runs of the same scope have written since this one was planned.
SELECT (SELECT count(*) FROM clip.score
        WHERE run_id = ANY (others.ids) AND scored_at >= :as_of)
     + (SELECT count(*) FROM clip.rejection
        WHERE run_id = ANY (others.ids) AND rejected_at >= :as_of)
FROM (SELECT coalesce(array_agg(id), '{}') AS ids FROM clip.run
      WHERE source = :source AND fingerprint_id = :fingerprint_id AND id <> :run_id
        AND coalesce(finished_at, now()) >= :as_of) AS others;

-- name: histogram
-- Similarities of the run in bins; each similarity counts in the run that scored it last.
SELECT CAST(floor(CAST(similarity AS double precision) * :bins) AS integer) AS bin, count(*) AS n
FROM clip.score WHERE run_id = :run_id GROUP BY 1 ORDER BY 1;

-- name: lowest
-- The run's pairs that fit least.
SELECT record_key, similarity FROM clip.score WHERE run_id = :run_id
ORDER BY similarity, record_key LIMIT :most;

-- name: highest
-- The run's pairs that fit best.
SELECT record_key, similarity FROM clip.score WHERE run_id = :run_id
ORDER BY similarity DESC, record_key LIMIT :most;

-- name: past_histograms
-- Histograms of the last runs before this one that succeeded, of the same source and fingerprint,
-- and scored anything.
SELECT metrics -> 'histogram' AS histogram FROM clip.run
WHERE source = :source AND fingerprint_id = :fingerprint_id AND id < :run_id
  AND state = 'succeeded' AND scored > 0 AND jsonb_exists(metrics, 'histogram')
ORDER BY id DESC LIMIT :most;

-- name: rejections_of_run
-- The run's rejections by reason.
SELECT reason, count(*) AS n FROM clip.rejection WHERE run_id = :run_id GROUP BY 1 ORDER BY 1;

-- name: latest_runs
-- The newest runs with their progress; counters, not rows, so that a look costs nothing.
SELECT run.run_key, run.source, run."trigger", run.state, run.planned, run.reserved, run.started_at,
       run.finished_at, shards.scored, shards.rejected, shards.done, shards.shards,
       run.state = 'running' AND NOT shards.alive AS stalled
FROM clip.run CROSS JOIN LATERAL (
    SELECT CAST(coalesce(sum(scored), 0) AS bigint) AS scored,
           CAST(coalesce(sum(rejected), 0) AS bigint) AS rejected,
           count(*) FILTER (WHERE state = 'done') AS done, count(*) AS shards,
           coalesce(bool_or(lease_until > now()), true) AS alive
    FROM clip.shard WHERE run_id = run.id) AS shards
WHERE run.source = coalesce(:source, run.source)
ORDER BY run.id DESC LIMIT :most;

-- name: shards_in_detail
-- Each shard of a run: how far, by whom, at which try.
SELECT number, start_key, stop_key, "offset", state, epoch, tries, planned, scored, rejected,
       CASE WHEN state = 'open' THEN worker END AS worker, device,
       lease_until > now() AS leased
FROM clip.shard WHERE run_id = (SELECT id FROM clip.run WHERE run_key = :run_key)
ORDER BY number;

-- name: rejections_by_reason
-- The current rejections, and when those that may pass are tried again.
SELECT rejection.source, rejection.reason, count(*) AS records,
       count(*) FILTER (WHERE next_attempt_at <= now()) AS due,
       count(*) FILTER (WHERE next_attempt_at > now()) AS waiting,
       min(next_attempt_at) FILTER (WHERE next_attempt_at > now()) AS next_due,
       max(attempts) AS most_attempts
FROM clip.rejection JOIN clip.run ON run.id = rejection.run_id
WHERE rejection.source = coalesce(:source, rejection.source)
  AND run.run_key = coalesce(:run_key, run.run_key)
GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2;
