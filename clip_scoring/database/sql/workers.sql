-- SQL about who works on a run, and what is left of it.

-- name: workers_of_run
-- Who works on unfinished shards of the run, and until when each is taken for alive at least.
SELECT worker, max(lease_until) AS lease_until, count(*) AS shards FROM clip.shard
WHERE run_id = :run_id AND state = 'open' AND worker IS NOT NULL
GROUP BY worker ORDER BY worker;

-- name: dismiss_workers
-- These workers are known to be dead: their shards are free at once.
UPDATE clip.shard SET worker = NULL
WHERE run_id = :run_id AND state = 'open' AND worker = ANY (:workers);

-- name: unfinished_shards
-- How many shards of the run are not done.
SELECT count(*) FROM clip.shard WHERE run_id = :run_id AND state = 'open';

-- name: left_of_run
-- Those shards, and how many of their records have no outcome yet; some may have arrived since.
SELECT count(*) AS shards,
       coalesce(sum(greatest(planned - scored - rejected, 0)), 0) AS records
FROM clip.shard WHERE run_id = :run_id AND state = 'open';
