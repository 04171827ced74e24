-- name: run
-- The newest run of the sample's source, with the verdict of its metrics.
SELECT run_key, state, planned, scored, rejected,
       metrics ->> 'pairs_per_second' AS pairs_per_second,
       metrics ->> 'bottleneck' AS bottleneck
FROM clip.run WHERE source = 'records' ORDER BY id DESC LIMIT 1;

-- name: totals
-- What became of all records under the newest run's fingerprint.
WITH newest AS (
    SELECT fingerprint_id FROM clip.run WHERE source = 'records' ORDER BY id DESC LIMIT 1
), outcome AS (
    SELECT (SELECT count(*) FROM clip.record) AS planned,
           (SELECT count(*) FROM clip.record AS r JOIN clip.score AS s ON s.record_key = r.key::text
            WHERE s.source = 'records' AND s.fingerprint_id = newest.fingerprint_id) AS scored,
           (SELECT count(*) FROM clip.record AS r JOIN clip.rejection AS x ON x.record_key = r.key::text
            WHERE x.source = 'records' AND x.fingerprint_id = newest.fingerprint_id) AS rejected
    FROM newest
)
SELECT planned, scored, rejected, planned - scored - rejected AS pending FROM outcome;

-- name: rejections
-- How many records were rejected, by reason.
SELECT reason, count(*) AS records FROM clip.rejection WHERE source = 'records'
AND fingerprint_id = (SELECT fingerprint_id FROM clip.run WHERE source = 'records' ORDER BY id DESC LIMIT 1)
GROUP BY reason ORDER BY records DESC, reason;

-- name: similarities
-- Every scored record with its caption, the highest similarity first.
SELECT r.key, s.similarity, r.caption
FROM clip.record AS r JOIN clip.score AS s ON s.record_key = r.key::text
WHERE s.source = 'records'
AND s.fingerprint_id = (SELECT fingerprint_id FROM clip.run WHERE source = 'records' ORDER BY id DESC LIMIT 1)
ORDER BY s.similarity DESC, r.key;
