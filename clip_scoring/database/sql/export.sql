-- SQL that exports what a run left; it changes nothing.

-- name: run_state
-- Whether a run is over.
SELECT state FROM clip.run WHERE id = :run_id;

-- name: outcomes_of_run
-- Every outcome that the run left and no later run replaced, by the code points of the keys.
SELECT record_key, CAST(similarity AS double precision) AS similarity, caption_truncated,
       NULL AS rejection_reason, replace(CAST(input_md5 AS text), '-', '') AS input_md5,
       scored_at
FROM clip.score WHERE run_id = :run_id
UNION ALL
SELECT record_key, NULL, NULL, reason, replace(CAST(input_md5 AS text), '-', ''), rejected_at
FROM clip.rejection WHERE run_id = :run_id
ORDER BY record_key;

-- name: rows_of_keys
-- In which file and row keys of a source without names stand; a key means one row of one version.
SELECT CAST(given.key AS text) AS record_key, holder.uri, given.key - holder.first_key AS row_number
FROM (SELECT CAST(name AS bigint) AS key FROM unnest(CAST(:names AS text[])) AS name
      WHERE name ~ '^[1-9][0-9]{0,17}$') AS given
CROSS JOIN LATERAL (
    SELECT uri, first_key, rows FROM clip.object
    WHERE source = :source AND first_key <= given.key
    ORDER BY first_key DESC, rows DESC LIMIT 1) AS holder
WHERE given.key < holder.first_key + holder.rows;

-- name: rows_of_names
-- In which file and row names stand with the input that was scored; of several versions the newest.
SELECT DISTINCT ON (named.record_key) named.record_key, object.uri,
       named.key - object.first_key AS row_number
FROM clip.object CROSS JOIN LATERAL (
    SELECT object_row.record_key, object_row.key
    FROM unnest(CAST(:names AS text[]), CAST(:input_md5s AS uuid[])) AS given (name, input_md5)
    JOIN clip.object_row ON object_row.object_id = object.id AND record_key = given.name
         AND object_row.input_md5 = given.input_md5) AS named
WHERE object.source = :source
ORDER BY named.record_key, object.id DESC;
