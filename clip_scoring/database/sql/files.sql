-- SQL about what sources hold: the manifest of files, the catalogue of tables, the default table.

-- name: load_records
-- Put records into the default source; a record that is already there as given is left alone.
INSERT INTO clip.record (key, image_uri, caption, created_at)
SELECT * FROM unnest(CAST(:keys AS bigint[]), CAST(:image_uris AS text[]),
                     CAST(:captions AS text[]), CAST(:created AS timestamptz[]))
ON CONFLICT (key) DO UPDATE
SET image_uri = excluded.image_uri, caption = excluded.caption, updated_at = now()
WHERE (record.image_uri, record.caption) IS DISTINCT FROM (excluded.image_uri, excluded.caption);

-- name: columns
-- Columns of a table or view, with the types below their domains; none where there is no such one.
SELECT attribute.attname AS name, format_type(attribute.atttypid, attribute.atttypmod) AS shown,
       (WITH RECURSIVE below AS (
            SELECT oid, typtype, typname, typbasetype FROM pg_type WHERE oid = attribute.atttypid
            UNION ALL
            SELECT base.oid, base.typtype, base.typname, base.typbasetype
            FROM pg_type AS base JOIN below ON base.oid = below.typbasetype)
        SELECT CASE typtype WHEN 'e' THEN 'enum' ELSE CAST(typname AS text) END
        FROM below WHERE typtype <> 'd') AS type
FROM pg_attribute AS attribute
JOIN pg_class AS class ON class.oid = attribute.attrelid
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE namespace.nspname = :schema AND class.relname = :table
  AND class.relkind IN ('r', 'v', 'm', 'f', 'p') AND attribute.attnum > 0
  AND NOT attribute.attisdropped
ORDER BY attribute.attnum;

-- name: sorts_by_code_points
-- Whether a column's own collation orders text by code points, as COLLATE "C" does.
SELECT CASE WHEN coll.collname = 'default'
            THEN db.datlocprovider = 'b'
                 OR (db.datlocprovider = 'c' AND db.datcollate IN ('C', 'POSIX'))
            ELSE coll.collprovider = 'b' OR coll.collname IN ('C', 'POSIX', 'ucs_basic') END
FROM pg_attribute AS attribute
JOIN pg_class AS class ON class.oid = attribute.attrelid
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
JOIN pg_collation AS coll ON coll.oid = attribute.attcollation
JOIN pg_database AS db ON db.datname = current_database()
WHERE namespace.nspname = :schema AND class.relname = :table AND attribute.attname = :column;

-- name: key_index
-- Whether a table has an index that begins with the key in code-point order; no row for views.
SELECT EXISTS (
    SELECT FROM pg_index AS index JOIN pg_collation AS c ON c.collname = 'C'
    WHERE index.indrelid = class.oid AND index.indkey[0] = attribute.attnum AND index.indisvalid
      AND (index.indcollation[0] IN (0, c.oid)
           OR (index.indcollation[0] = attribute.attcollation AND
               (SELECT CASE WHEN coll.collname = 'default'
                            THEN db.datlocprovider = 'b'
                                 OR (db.datlocprovider = 'c' AND db.datcollate IN ('C', 'POSIX'))
                            ELSE coll.collprovider = 'b' OR coll.collname IN ('POSIX', 'ucs_basic')
                       END
                FROM pg_collation AS coll, pg_database AS db
                WHERE coll.oid = attribute.attcollation AND db.datname = current_database()))))
FROM pg_attribute AS attribute
JOIN pg_class AS class ON class.oid = attribute.attrelid AND class.relkind IN ('r', 'm', 'p')
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE namespace.nspname = :schema AND class.relname = :table AND attribute.attname = :column;

-- name: lock_manifest
-- Keys of one source's files are given out by one process at a time.
SELECT pg_advisory_xact_lock(hashtextextended('clip.object ' || :source, 0));

-- name: known_versions
-- Which of these files are in the manifest as they are now.
SELECT uri, version FROM clip.object
WHERE source = :source AND (uri, version) IN (
    SELECT * FROM unnest(CAST(:uris AS text[]), CAST(:versions AS text[])));

-- name: add_object
-- A new version of a file; its rows get the keys after all that the source has given so far.
INSERT INTO clip.object (source, uri, version, size, event_time, first_key, rows, marks)
SELECT :source, :uri, :version, :size, :event_time,
       coalesce((SELECT first_key + rows FROM clip.object WHERE source = :source
                 ORDER BY first_key DESC, rows DESC LIMIT 1), 1),
       :rows, CAST(:marks AS jsonb)
ON CONFLICT (source, uri, version) DO NOTHING
RETURNING id, first_key;

-- name: add_object_rows
-- The names of a file's rows; a name that is there already is not added.
INSERT INTO clip.object_row (object_id, key, record_key, input_md5)
SELECT :object_id, key, record_key, input_md5
FROM unnest(CAST(:keys AS bigint[]), CAST(:names AS text[]), CAST(:input_md5s AS uuid[]))
     AS named (key, record_key, input_md5)
ON CONFLICT DO NOTHING
RETURNING key;

-- name: names_of_rows
-- What the rows of a stretch of keys are called.
SELECT object_row.key, object_row.record_key
FROM clip.object_row JOIN clip.object ON object.id = object_row.object_id
WHERE object.source = :source AND object_row.key = ANY (:keys);

-- name: keys_of_names
-- The keys of rows by their names, in the files that are there now.
SELECT named.key, named.record_key
FROM clip.object CROSS JOIN LATERAL (
    SELECT key, record_key FROM clip.object_row
    WHERE object_id = object.id AND record_key = ANY (CAST(:names AS text[]))) AS named
WHERE object.source = :source AND object.retired_at IS NULL;

-- name: keys_there
-- Which numbers are keys of rows in the files that are there now.
SELECT given.key, CAST(given.key AS text) AS record_key
FROM (SELECT DISTINCT CAST(name AS bigint) AS key FROM unnest(CAST(:names AS text[])) AS name
      WHERE name ~ '^[1-9][0-9]{0,17}$') AS given
WHERE EXISTS (SELECT FROM clip.object
              WHERE source = :source AND retired_at IS NULL
                AND given.key >= first_key AND given.key < first_key + rows);

-- name: retire_objects
-- Files of the window that are gone, and older versions of those that are there.
UPDATE clip.object SET retired_at = now()
WHERE source = :source AND retired_at IS NULL AND (uri, version) NOT IN (
          SELECT * FROM unnest(CAST(:uris AS text[]), CAST(:versions AS text[])))
  AND ((event_time < :window_stop AND (CAST(:window_start AS timestamptz) IS NULL
                                       OR event_time >= :window_start))
       OR uri = ANY (:uris));

-- name: return_objects
-- Versions that were retired and are there again.
UPDATE clip.object SET retired_at = NULL
WHERE source = :source AND retired_at IS NOT NULL AND (uri, version) IN (
    SELECT * FROM unnest(CAST(:uris AS text[]), CAST(:versions AS text[])));

-- name: objects_of_keys
-- The files that hold keys of a range.
SELECT uri, version, size, event_time, first_key, rows, marks FROM clip.object
WHERE source = :source AND rows > 0 AND first_key + rows > :start AND first_key < :stop
ORDER BY first_key;
