-- Schema clip at version 0003 with rows: two finished runs of 48 and 20 records and their rejections, a
-- run of 40 that was interrupted in its second shard, and one of 37 that found 16 records reserved by it.
-- Made by pg_dump 18.6 with --schema=clip --no-owner --no-privileges --inserts; comments are left out.

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE SCHEMA clip;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE clip.object (
    id bigint NOT NULL,
    source text NOT NULL,
    uri text NOT NULL,
    version text NOT NULL,
    size bigint NOT NULL,
    event_time timestamp with time zone NOT NULL,
    first_key bigint NOT NULL,
    rows bigint NOT NULL,
    marks jsonb NOT NULL,
    listed_at timestamp with time zone DEFAULT now() NOT NULL,
    retired_at timestamp with time zone,
    CONSTRAINT object_first_key_check CHECK ((first_key > 0)),
    CONSTRAINT object_rows_check CHECK ((rows >= 0)),
    CONSTRAINT object_size_check CHECK ((size >= 0))
);

CREATE TABLE clip.object_row (
    object_id bigint NOT NULL,
    key bigint NOT NULL,
    record_key text NOT NULL COLLATE pg_catalog."C",
    input_md5 uuid NOT NULL
);

CREATE TABLE clip.rejection (
    source text NOT NULL,
    record_key text NOT NULL COLLATE pg_catalog."C",
    fingerprint_id integer NOT NULL,
    reason text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    next_attempt_at timestamp with time zone,
    input_md5 uuid NOT NULL,
    run_id bigint NOT NULL,
    shard_id bigint NOT NULL,
    rejected_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT rejection_attempts_check CHECK ((attempts >= 1))
);

CREATE TABLE clip.score (
    source text NOT NULL,
    record_key text NOT NULL COLLATE pg_catalog."C",
    fingerprint_id integer NOT NULL,
    similarity real NOT NULL,
    caption_truncated boolean NOT NULL,
    input_md5 uuid NOT NULL,
    run_id bigint NOT NULL,
    shard_id bigint NOT NULL,
    scored_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT score_similarity_check CHECK (((similarity >= ('-1.0001'::numeric)::double precision) AND (similarity <= (1.0001)::double precision)))
);

CREATE VIEW clip.similarity AS
 SELECT score.source,
    score.record_key,
    score.fingerprint_id,
    score.similarity,
    ((2.5)::double precision * GREATEST(score.similarity, (0)::real)) AS clip_score,
    ((score.similarity + (1)::double precision) / (2)::double precision) AS similarity_01,
    score.caption_truncated,
    NULL::text AS rejection_reason,
    score.run_id
   FROM clip.score
UNION ALL
 SELECT rejection.source,
    rejection.record_key,
    rejection.fingerprint_id,
    NULL::real AS similarity,
    NULL::double precision AS clip_score,
    NULL::double precision AS similarity_01,
    NULL::boolean AS caption_truncated,
    rejection.reason AS rejection_reason,
    rejection.run_id
   FROM clip.rejection;

CREATE VIEW clip.file_similarity AS
 SELECT object.source,
    object.uri,
    (numbered.key - object.first_key) AS row_number,
    similarity.record_key,
    similarity.fingerprint_id,
    similarity.similarity,
    similarity.clip_score,
    similarity.similarity_01,
    similarity.caption_truncated,
    similarity.rejection_reason,
    similarity.run_id
   FROM (((clip.object
     CROSS JOIN LATERAL generate_series(object.first_key, ((object.first_key + object.rows) - 1)) numbered(key))
     LEFT JOIN clip.object_row ON (((object_row.object_id = object.id) AND (object_row.key = numbered.key))))
     JOIN clip.similarity ON (((similarity.source = object.source) AND (similarity.record_key = COALESCE(object_row.record_key, (numbered.key)::text)))))
  WHERE (object.retired_at IS NULL);

CREATE TABLE clip.fingerprint (
    id integer NOT NULL,
    digest text NOT NULL,
    parts jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT fingerprint_digest_check CHECK ((digest ~ '^[0-9a-f]{64}$'::text))
);

ALTER TABLE clip.fingerprint ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME clip.fingerprint_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE clip.object ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME clip.object_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE clip.record (
    key bigint NOT NULL,
    image_uri text,
    caption text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE clip.record ALTER COLUMN key ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME clip.record_key_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE clip.run (
    id bigint NOT NULL,
    run_key text NOT NULL,
    source text NOT NULL,
    fingerprint_id integer NOT NULL,
    window_start timestamp with time zone,
    window_stop timestamp with time zone NOT NULL,
    trigger text NOT NULL,
    rescore text NOT NULL,
    batch_size integer NOT NULL,
    state text DEFAULT 'running'::text NOT NULL,
    planned bigint DEFAULT 0 NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    arrived bigint DEFAULT 0 NOT NULL,
    vanished bigint DEFAULT 0 NOT NULL,
    scored bigint DEFAULT 0 NOT NULL,
    rejected bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    metrics jsonb DEFAULT '{}'::jsonb NOT NULL,
    wall_seconds double precision GENERATED ALWAYS AS (((metrics #>> '{stage_seconds,wall}'::text[]))::double precision) STORED,
    bottleneck text GENERATED ALWAYS AS ((metrics ->> 'bottleneck'::text)) STORED,
    CONSTRAINT run_arrived_check CHECK ((arrived >= 0)),
    CONSTRAINT run_batch_size_check CHECK ((batch_size > 0)),
    CONSTRAINT run_held_check CHECK ((held >= 0)),
    CONSTRAINT run_planned_check CHECK ((planned >= 0)),
    CONSTRAINT run_rejected_check CHECK ((rejected >= 0)),
    CONSTRAINT run_rescore_check CHECK ((rescore = ANY (ARRAY['missing'::text, 'rejected'::text, 'all'::text]))),
    CONSTRAINT run_scored_check CHECK ((scored >= 0)),
    CONSTRAINT run_state_check CHECK ((state = ANY (ARRAY['running'::text, 'succeeded'::text, 'failed'::text, 'abandoned'::text]))),
    CONSTRAINT run_trigger_check CHECK ((trigger = ANY (ARRAY['scheduled'::text, 'backfill'::text, 'manual'::text, 'cli'::text]))),
    CONSTRAINT run_vanished_check CHECK ((vanished >= 0))
);

ALTER TABLE clip.run ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME clip.run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE clip.schema_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE clip.shard (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    number integer NOT NULL,
    start_key jsonb NOT NULL,
    stop_key jsonb NOT NULL,
    "offset" jsonb NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    planned bigint NOT NULL,
    scored bigint DEFAULT 0 NOT NULL,
    rejected bigint DEFAULT 0 NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    measures jsonb DEFAULT '{}'::jsonb CONSTRAINT shard_stage_seconds_not_null NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    worker text,
    device text,
    CONSTRAINT shard_epoch_check CHECK ((epoch >= 0)),
    CONSTRAINT shard_number_check CHECK ((number >= 0)),
    CONSTRAINT shard_planned_check CHECK ((planned >= 0)),
    CONSTRAINT shard_rejected_check CHECK ((rejected >= 0)),
    CONSTRAINT shard_scored_check CHECK ((scored >= 0)),
    CONSTRAINT shard_state_check CHECK ((state = ANY (ARRAY['open'::text, 'done'::text]))),
    CONSTRAINT shard_tries_check CHECK ((tries >= 0))
)
WITH (fillfactor='70');

ALTER TABLE clip.shard ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME clip.shard_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

INSERT INTO clip.fingerprint OVERRIDING SYSTEM VALUE VALUES
	(1, '5d95fcc8813d568cc642f13738d1d7098047568000613c603244831f972b7a33', '{"tier": "exact", "dtype": "float32", "revision": "eebc510635bc", "resize_kernel": "bicubic", "weights_sha256": "eebc510635bc65a841d799c2e053d9ed245ae48c9daf073b9c50f30a8b243ac7", "tokenizer_sha256": "54029ef8dba53e1391ee88e1976479408b7f5e06e0fd276075f36c38674fe79d", "preprocessor_sha256": "c10fa98b92d45c2d6fbd8918d6c60ad79cddf25f6fcc9b4bbf9d0b0cf600acd1"}', '2026-11-28 09:18:00.539915+00');

INSERT INTO clip.record VALUES
	(1, 'images/001.png', 'a little black circle on the right of a medium white heart on a plain orange background', '2026-01-01 00:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(2, 'images/002.jpg', 'a black ring', '2026-01-01 00:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(3, 'images/003.jpg', 'there is a purple circle below a black heart on a red background', '2026-01-01 00:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(4, 'images/004.jpg', 'a close-up of a blue circle on a red striped background', '2026-01-01 00:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(5, 'images/005.jpg', 'a white heart on a yellow striped background.', '2026-01-01 01:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(6, 'images/006.jpg', 'a green heart on a noisy blue background.', '2026-01-01 01:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(8, 'images/008.jpg', 'an image of a tiny black heart on a solid white background', '2026-01-01 02:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(9, 'images/009.png', 'a photo of a tiny blue star', '2026-01-01 02:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(10, 'images/010.jpg', 'this is a small black cross', '2026-01-01 02:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(11, 'images/011.jpg', 'a simple drawing of a white ring left of an orange heart on a yellow noisy background', '2026-01-01 03:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(12, 'images/012.png', 'a large red cross above a small orange star on a yellow background', '2026-01-01 03:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(13, 'images/013.png', 'a small purple ring right of a medium red star with a solid blue background', '2026-01-01 03:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(14, 'images/014.webp', 'a drawing of a small green star beneath a small white triangle', '2026-01-01 03:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(15, 'images/015.jpg', 'a photograph of a big blue cross and a medium blue triangle', '2026-01-01 04:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(16, 'images/016.jpg', 'there is a large red cross', '2026-01-01 04:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(17, 'images/017.png', 'a red arrow', '2026-01-01 04:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(18, 'images/018.webp', 'a scene with a blue ring above a black circle on a yellow background', '2026-01-01 05:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(19, 'images/019.webp', 'a large red square', '2026-01-01 05:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(20, 'bad/fine.jpg', '￾a red circle', '2026-01-01 05:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(21, 'images/021.webp', 'a small orange heart left of a medium blue arrow against a noisy green background', '2026-01-01 06:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(22, 'images/022.jpg', 'a simple drawing of a large green star on a yellow striped background', '2026-01-01 06:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(23, 'images/023.jpg', 'this is a blue circle', '2026-01-01 06:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(24, 'bad/never-uploaded.jpg', 'a red circle on a white background', '2026-01-01 06:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(25, 'images/025.jpg', 'this is a big red star on a noisy green background', '2026-01-01 07:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(26, 'images/026.webp', 'a yellow square and a black heart on a noisy purple background', '2026-01-01 07:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(27, 'images/027.png', 'a white star with a red background', '2026-01-01 07:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(28, 'images/028.jpg', 'a blue circle on a plain red background.', '2026-01-01 08:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(29, 'images/029.jpg', 'a little black star on a white background', '2026-01-01 08:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(30, 'images/030.jpg', 'a yellow circle', '2026-01-01 08:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(31, 'bad/damaged.png', 'a red circle on a white background', '2026-01-01 09:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(32, 'ftp://example.com/picture.jpg', 'a red circle on a white background', '2026-01-01 09:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(33, 'images/033.jpg', 'a black heart left of a black star', '2026-01-01 09:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(34, 'images/034.jpg', 'a medium yellow cross below a small blue cross', '2026-01-01 09:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(35, 'images/035.jpg', 'an orange circle under a purple triangle on a green background', '2026-01-01 10:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(36, 'images/036.webp', 'a large black star on a yellow background', '2026-01-01 10:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(37, 'images/037.jpg', 'an image of a large blue ring', '2026-01-01 10:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(38, 'images/038.jpg', 'a small white ring', '2026-01-01 11:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(39, 'images/039.webp', 'an illustration of a large black arrow', '2026-01-01 11:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(40, 'images/040.webp', 'this picture shows a small white cross over a small white star', '2026-01-01 11:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(41, 'images/041.webp', 'a small blue arrow on a solid orange background', '2026-01-01 12:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(42, 'images/042.png', 'a picture of a green square on a plain yellow background', '2026-01-01 12:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(43, 'images/043.png', 'a red ring to the right of a white cross on a plain purple background.', '2026-01-01 12:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(45, 'images/045.png', 'a small yellow heart over a medium-sized purple ring', '2026-01-01 13:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(46, 'images/046.png', 'a purple heart under a white circle against a striped black background', '2026-01-01 13:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(47, 'images/047.jpg', 'a photograph of a black arrow on a plain orange background', '2026-01-01 13:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(48, 'images/048.webp', 'an illustration of a small orange ring above a medium green circle on a noisy yellow background', '2026-01-01 14:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(49, 'images/049.webp', 'a rendering of a blue cross on the right of a blue square', '2026-01-01 14:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(50, 'images/050.jpg', 'a green square on the left of a red heart on a yellow background', '2026-01-01 14:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(51, 'images/051.jpg', 'a medium red arrow on a blue striped background', '2026-01-01 15:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(52, 'images/052.jpg', 'a red ring on the left of a green square on an orange noisy background.', '2026-01-01 15:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(53, 'images/053.jpg', 'a tiny purple arrow above a tiny blue ring with a white noisy background', '2026-01-01 15:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(54, 'images/054.webp', 'a scene with a blue star and a purple circle on a green striped background', '2026-01-01 15:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(55, 'images/055.webp', 'a medium purple heart on a blue background', '2026-01-01 16:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(56, 'images/056.jpg', 'a green star on a plain purple background', '2026-01-01 16:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(57, 'images/057.png', 'a yellow arrow on a white background', '2026-01-01 16:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(58, 'images/058.jpg', 'a photo of a medium-sized blue circle with a red background', '2026-01-01 17:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(59, 'images/059.jpg', 'a close-up of a small white heart', '2026-01-01 17:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(60, 'images/060.webp', 'a medium black circle on a blue noisy background', '2026-01-01 17:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(61, 'images/061.jpg', 'a picture of a big orange star', '2026-01-01 18:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(62, 'images/062.jpg', 'an orange cross to the left of a black ring on a plain purple background', '2026-01-01 18:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(63, 'images/063.jpg', 'there is a green circle with a plain red background.', '2026-01-01 18:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(64, 'images/064.jpg', 'a close-up of a green circle above a yellow square with a striped red background', '2026-01-01 18:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(65, 'images/065.jpg', 'a medium red square to the right of a little blue square on a noisy orange background.', '2026-01-01 19:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(66, 'images/066.jpg', 'two shapes: a green ring above a yellow cross against a blue background.', '2026-01-01 19:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(67, 'bad/truncated.jpg', 'a red circle on a white background', '2026-01-01 19:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(68, 'images/068.jpg', 'a medium-sized orange ring', '2026-01-01 20:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(69, 'images/069.webp', 'a green arrow on the left of a green cross on a purple background.', '2026-01-01 20:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(70, 'images/070.jpg', 'a blue star beneath a blue cross on a solid orange background', '2026-01-01 20:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(71, 'images/071.png', 'two shapes: a large red circle to the right of a small black star', '2026-01-01 21:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(72, 'images/072.png', 'an image of a small yellow cross on a striped red background', '2026-01-01 21:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(73, 'images/073.jpg', 'two shapes: a big purple arrow on the right of a medium black cross with a white noisy background', '2026-01-01 21:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(74, 'images/074.jpg', 'a medium-sized black circle right of a small yellow arrow on a green background', '2026-01-01 21:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(75, 'images/075.webp', 'a drawing of a large red heart to the right of a medium yellow ring on a noisy black background', '2026-01-01 22:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(76, 'bad/thin.png', 'a red circle on a white background', '2026-01-01 22:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(77, 'images/077.jpg', 'a small orange heart over a medium orange square with a purple background', '2026-01-01 22:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(78, 'images/078.jpg', 'a medium green star on a white noisy background', '2026-01-01 23:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(79, 'bad/portable-pixmap.jpg', 'a red circle on a white background', '2026-01-01 23:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(80, 'images/080.jpg', 'this is a large yellow triangle against a white noisy background', '2026-01-01 23:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(81, 'images/081.webp', 'a rendering of a medium-sized white square on the right of a medium white arrow', '2026-01-02 00:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(82, 'images/082.png', 'two shapes: a little orange cross to the left of a small orange star on a solid green background', '2026-01-02 00:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(83, 'images/083.webp', 'a purple square to the right of a yellow ring on an orange background', '2026-01-02 00:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(84, 'images/084.jpg', 'a medium blue circle on a solid orange background', '2026-01-02 00:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(85, 'images/085.jpg', 'two shapes: a yellow cross and a yellow arrow on a purple background', '2026-01-02 01:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(86, 'images/086.jpg', 'a rendering of a white ring under a white square', '2026-01-02 01:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(87, 'images/087.png', 'a small red heart below a small blue square on a striped orange background', '2026-01-02 01:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(88, 'images/088.jpg', 'a white triangle and a purple circle on an orange background', '2026-01-02 02:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(89, 'images/089.jpg', 'this picture shows a small blue square on the left of a large red square on a plain white background', '2026-01-02 02:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(90, 'images/090.webp', 'a large red arrow on a blue background', '2026-01-02 02:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(92, 'images/092.webp', 'an illustration of a white square with a red background', '2026-01-02 03:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(93, 'images/093.webp', 'a rendering of a small yellow cross on a solid black background', '2026-01-02 03:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(94, 'images/094.jpg', 'a photo of a green circle on a noisy red background', '2026-01-02 03:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(95, 'images/095.jpg', 'a photo of a yellow ring below a purple heart against a blue background', '2026-01-02 04:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(96, 'images/096.webp', 'two shapes: a green ring on the left of a red arrow with a white noisy background', '2026-01-02 04:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(97, 'images/097.jpg', 'an image of a white square', '2026-01-02 04:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(98, 'images/098.jpg', 'this is a white triangle above a purple circle on a plain green background', '2026-01-02 05:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(99, 'images/099.jpg', 'a purple square.', '2026-01-02 05:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(100, 'images/100.webp', 'an illustration of a large orange star', '2026-01-02 05:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(101, 'bad/notes.jpg', 'a red circle on a white background', '2026-01-02 06:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(102, 'images/102.jpg', 'a big blue ring against a noisy green background', '2026-01-02 06:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(103, 'file:///etc/passwd', 'a red circle on a white background', '2026-01-02 06:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(104, 'images/104.jpg', 'there is a green triangle above a yellow square against a blue striped background', '2026-01-02 06:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(105, 'images/105.webp', 'a scene with a large red triangle left of a small red ring on a purple striped background.', '2026-01-02 07:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(107, 'images/107.jpg', 'a photograph of a large black ring on a noisy purple background', '2026-01-02 07:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(108, 'images/108.webp', 'there is a big blue heart on a red background', '2026-01-02 08:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(109, 'images/109.jpg', 'this picture shows a green square to the left of a red star against a purple background', '2026-01-02 08:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(110, 'images/110.webp', 'the image shows a medium yellow circle and a tiny blue ring against a green background', '2026-01-02 08:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(111, 'images/111.jpg', 'a white star', '2026-01-02 09:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(112, 'images/112.png', 'a big yellow cross on a purple striped background', '2026-01-02 09:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(113, 'images/113.jpg', 'this is a small red square above a small orange star on a yellow background', '2026-01-02 09:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(114, 'images/114.webp', 'a purple arrow on a noisy green background', '2026-01-02 09:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(115, 'images/115.webp', 'two shapes: a little orange star over a large yellow arrow on a red background', '2026-01-02 10:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(116, 'bad/padded.jpg', 'a red circle on a white background', '2026-01-02 10:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(117, 'images/117.jpg', 'the image shows a white ring and a green square', '2026-01-02 10:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(118, 'images/118.png', 'a green star below a green cross on a yellow striped background', '2026-01-02 11:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(119, 'images/119.png', 'a purple heart with a striped white background', '2026-01-02 11:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(120, 'images/120.webp', 'a drawing of a blue cross', '2026-01-02 11:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(121, 'images/121.png', 'a large black cross on a plain blue background', '2026-01-02 12:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(122, 'images/122.png', 'a tiny red triangle above a medium purple cross against a blue background', '2026-01-02 12:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(123, 'images/123.png', 'the image shows a blue arrow with a plain red background', '2026-01-02 12:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(124, 'images/124.jpg', 'there is an orange ring right of a red triangle on a black background', '2026-01-02 12:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(125, 'images/125.webp', 'this is a small red cross above a large green arrow on a striped orange background', '2026-01-02 13:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(126, 'images/126.jpg', 'an illustration of a yellow arrow on a striped blue background', '2026-01-02 13:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(127, 'images/127.jpg', 'a large red circle against a purple background', '2026-01-02 13:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(128, 'images/128.png', 'a close-up of an orange ring above a green arrow with a purple striped background', '2026-01-02 14:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(129, 'images/129.jpg', 'a blue square right of a yellow heart on a purple background', '2026-01-02 14:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(130, 'images/130.png', 'a medium purple square', '2026-01-02 14:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(131, 'images/131.jpg', 'a medium blue triangle above a small green triangle on a plain black background', '2026-01-02 15:05:00+00', '2026-11-28 09:17:08.768004+00'),
	(132, 'images/132.webp', 'a small white circle and a medium-sized orange ring on a plain red background', '2026-01-02 15:23:00+00', '2026-11-28 09:17:08.768004+00'),
	(133, 'images/133.webp', 'a big orange arrow.', '2026-01-02 15:41:00+00', '2026-11-28 09:17:08.768004+00'),
	(134, 'images/134.png', 'a rendering of a medium-sized black cross on a striped white background', '2026-01-02 15:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(135, 'images/135.jpg', 'a medium yellow cross', '2026-01-02 16:17:00+00', '2026-11-28 09:17:08.768004+00'),
	(136, 'images/136.png', 'a white triangle on a plain purple background', '2026-01-02 16:35:00+00', '2026-11-28 09:17:08.768004+00'),
	(137, 'images/137.jpg', 'a white ring against a purple background', '2026-01-02 16:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(138, 'images/138.png', 'a little yellow circle on a plain purple background', '2026-01-02 17:11:00+00', '2026-11-28 09:17:08.768004+00'),
	(139, 'images/139.png', 'a medium-sized orange square above a medium yellow triangle', '2026-01-02 17:29:00+00', '2026-11-28 09:17:08.768004+00'),
	(140, 'images/140.webp', 'a yellow circle and a purple circle on a blue striped background', '2026-01-02 17:47:00+00', '2026-11-28 09:17:08.768004+00'),
	(7, 'http://127.0.0.1/later.jpg', 'a small yellow heart over a medium-sized red cross', '2026-01-01 01:53:00+00', '2026-11-28 09:17:08.768004+00'),
	(44, 'http://127.0.0.1/later.jpg', 'a scene with a big red triangle', '2026-01-01 12:59:00+00', '2026-11-28 09:17:08.768004+00'),
	(91, 'http://127.0.0.1/later.jpg', 'a small yellow star to the right of a medium-sized red triangle', '2026-01-02 03:05:00+00', '2026-11-28 09:17:08.768004+00');

INSERT INTO clip.rejection VALUES
	('records', '20', 1, 'caption_invalid', 'NUL, lone surrogate or noncharacter', 2, NULL, 'f92992f1-a14e-94b6-ae8a-440a688fe198', 2, 4, '2026-11-28 09:20:01.423891+00'),
	('records', '24', 1, 'object_not_found', 'no such file', 2, NULL, '076e3b43-b15d-4797-e12d-90e6d1a31136', 2, 4, '2026-11-28 09:20:01.423891+00'),
	('records', '31', 1, 'image_undecodable', 'OSError', 2, NULL, 'd32c9b85-c6b2-ef1d-bda9-bb33636fabf8', 2, 4, '2026-11-28 09:20:01.423891+00'),
	('records', '32', 1, 'uri_forbidden', 'scheme ''ftp'' is not supported', 2, NULL, '19203422-4b6e-1cc4-2af5-6ef92282dfb9', 2, 4, '2026-11-28 09:20:01.423891+00'),
	('records', '44', 1, 'connect_failed', 'ConnectionRefusedError', 2, '2026-11-28 11:20:01.423891+00', '0223756a-2e39-9c86-ca3b-306f45fe1774', 2, 4, '2026-11-28 09:20:01.423891+00'),
	('records', '7', 1, 'connect_failed', 'ConnectionRefusedError', 2, '2026-11-28 11:20:01.423891+00', '9588f237-c75d-ec90-8830-1ae145fa30b4', 2, 4, '2026-11-28 09:20:01.423891+00'),
	('records', '67', 1, 'image_undecodable', 'OSError', 1, NULL, '3459ad0a-3ac2-91f1-e2e1-940ba1e1c6fd', 3, 6, '2026-11-28 09:20:19.882502+00'),
	('records', '76', 1, 'image_bad_dimensions', '1x5000, ratio over 50', 1, NULL, '1df5ee3f-8209-39c2-f357-c503b9187b98', 3, 6, '2026-11-28 09:20:20.464781+00'),
	('records', '79', 1, 'image_format_forbidden', 'PPM', 1, NULL, 'f78ec4ec-9993-e70b-19b5-994ceeb23209', 3, 7, '2026-11-28 09:20:28.492615+00');

INSERT INTO clip.run OVERRIDING SYSTEM VALUE VALUES
	(1, 'night/1', 'records', 1, NULL, '2026-01-03 00:00:00+00', 'cli', 'missing', 8, 'succeeded', 48, 0, 0, 0, 42, 6, '2026-11-28 09:18:00.539915+00', '2026-11-28 09:19:48.553319+00', '{"bytes": 514707, "drift": null, "lowest": [["11", -0.15509227], ["38", 0.22085124], ["47", 0.25110996], ["23", 0.640679], ["33", 0.6414424], ["30", 0.6961124], ["10", 0.6989678], ["15", 0.7009856], ["17", 0.7135351], ["16", 0.7142527], ["39", 0.723647], ["46", 0.7252609], ["29", 0.72854173], ["40", 0.73085105], ["19", 0.7362297], ["9", 0.7385056], ["36", 0.74109566], ["37", 0.75033927], ["2", 0.7521249], ["5", 0.7526559], ["6", 0.76440215], ["34", 0.7700943], ["27", 0.7785271], ["18", 0.7793754], ["8", 0.78366804], ["42", 0.787624], ["28", 0.7877978], ["14", 0.79318905], ["41", 0.7947382], ["45", 0.79706204], ["13", 0.7972524], ["22", 0.79737234], ["48", 0.79761475], ["12", 0.8038275], ["35", 0.8053842], ["3", 0.8116913], ["21", 0.81183827], ["4", 0.8139009], ["26", 0.8175968], ["43", 0.82603526], ["25", 0.8358171], ["1", 0.8517932]], "devices": ["cpu"], "highest": [["1", 0.8517932], ["25", 0.8358171], ["43", 0.82603526], ["26", 0.8175968], ["4", 0.8139009], ["21", 0.81183827], ["3", 0.8116913], ["35", 0.8053842], ["12", 0.8038275], ["48", 0.79761475], ["22", 0.79737234], ["13", 0.7972524], ["45", 0.79706204], ["41", 0.7947382], ["14", 0.79318905], ["28", 0.7877978], ["42", 0.787624], ["8", 0.78366804], ["18", 0.7793754], ["27", 0.7785271], ["34", 0.7700943], ["6", 0.76440215], ["5", 0.7526559], ["2", 0.7521249], ["37", 0.75033927], ["36", 0.74109566], ["9", 0.7385056], ["19", 0.7362297], ["40", 0.73085105], ["29", 0.72854173], ["46", 0.7252609], ["39", 0.723647], ["16", 0.7142527], ["17", 0.7135351], ["15", 0.7009856], ["10", 0.6989678], ["30", 0.6961124], ["33", 0.6414424], ["23", 0.640679], ["47", 0.25110996], ["38", 0.22085124], ["11", -0.15509227]], "pending": 0, "backoffs": 0, "failures": [], "histogram": {"220": 1, "251": 1, "640": 1, "641": 1, "696": 1, "698": 1, "700": 1, "713": 1, "714": 1, "723": 1, "725": 1, "728": 1, "730": 1, "736": 1, "738": 1, "741": 1, "750": 1, "752": 2, "764": 1, "770": 1, "778": 1, "779": 1, "783": 1, "787": 2, "793": 1, "794": 1, "797": 4, "803": 1, "805": 1, "811": 2, "813": 1, "817": 1, "826": 1, "835": 1, "851": 1, "-156": 1}, "bottleneck": "score-bound: add a GPU, or a faster one", "rejections": {"uri_forbidden": 1, "connect_failed": 2, "caption_invalid": 1, "object_not_found": 1, "image_undecodable": 1}, "connections": 6, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 4, "stage_seconds": {"read": 0.672, "wall": 6.246, "fetch": 1.048, "score": 3.931, "commit": 0.445, "decode": 0.802}, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 45, "rejection_rate": 0.125, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 45, "decoder_timeouts": 0, "pairs_per_second": 7.68, "peak_images_rows": 8, "captions_repeated": 0, "peak_memory_bytes": 539783168, "peak_captions_rows": 4}', DEFAULT, DEFAULT),
	(2, 'night/1 again', 'records', 1, '2026-01-01 00:00:00+00', '2026-01-02 00:00:00+00', 'cli', 'rejected', 8, 'succeeded', 20, 0, 0, 0, 14, 6, '2026-11-28 09:19:50.6889+00', '2026-11-28 09:20:05.947881+00', '{"bytes": 151540, "drift": null, "lowest": [["58", -0.22621927], ["60", -0.12799932], ["54", 0.69268274], ["50", 0.70021516], ["49", 0.7070511], ["61", 0.70714706], ["57", 0.7196268], ["59", 0.74151176], ["56", 0.7504138], ["55", 0.76844025], ["51", 0.7925621], ["52", 0.81294703], ["62", 0.8436877], ["53", 0.8660705]], "devices": ["cpu"], "highest": [["53", 0.8660705], ["62", 0.8436877], ["52", 0.81294703], ["51", 0.7925621], ["55", 0.76844025], ["56", 0.7504138], ["59", 0.74151176], ["57", 0.7196268], ["61", 0.70714706], ["49", 0.7070511], ["50", 0.70021516], ["54", 0.69268274], ["60", -0.12799932], ["58", -0.22621927]], "pending": 0, "backoffs": 0, "failures": [], "histogram": {"692": 1, "700": 1, "707": 2, "719": 1, "741": 1, "750": 1, "768": 1, "792": 1, "812": 1, "843": 1, "866": 1, "-128": 1, "-227": 1}, "bottleneck": "score-bound: add a GPU, or a faster one", "rejections": {"uri_forbidden": 1, "connect_failed": 2, "caption_invalid": 1, "object_not_found": 1, "image_undecodable": 1}, "connections": 3, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 2, "stage_seconds": {"read": 0.36, "wall": 3.204, "fetch": 0.295, "score": 1.978, "commit": 0.256, "decode": 0.296}, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 17, "rejection_rate": 0.3, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 17, "decoder_timeouts": 0, "pairs_per_second": 6.24, "peak_images_rows": 8, "captions_repeated": 0, "peak_memory_bytes": 569888768, "peak_captions_rows": 4}', DEFAULT, DEFAULT),
	(3, 'night/2', 'records', 1, NULL, '2026-01-03 00:00:00+00', 'cli', 'missing', 8, 'running', 40, 0, 0, 0, 0, 0, '2026-11-28 09:20:07.931558+00', NULL, '{}', DEFAULT, DEFAULT),
	(4, 'night/3', 'records', 1, NULL, '2026-01-03 00:00:00+00', 'cli', 'missing', 8, 'running', 37, 16, 0, 0, 0, 0, '2026-11-28 09:20:30.123913+00', NULL, '{}', DEFAULT, DEFAULT);

INSERT INTO clip.schema_version VALUES
	('0003');

INSERT INTO clip.score VALUES
	('records', '1', 1, 0.8517932, false, 'f58d1b72-c5a5-14c9-f5bb-706f7362bdb4', 1, 1, '2026-11-28 09:19:39.515907+00'),
	('records', '2', 1, 0.7521249, false, 'de508ca7-6b26-a526-ee24-0fb59c09d1be', 1, 1, '2026-11-28 09:19:39.515907+00'),
	('records', '3', 1, 0.8116913, false, 'd7456579-0851-27c7-15bc-f1ea732104b0', 1, 1, '2026-11-28 09:19:39.515907+00'),
	('records', '4', 1, 0.8139009, false, '2f5bd14f-5b0e-adf8-0022-fc83ebea67ae', 1, 1, '2026-11-28 09:19:39.515907+00'),
	('records', '5', 1, 0.7526559, false, '6223830d-3c38-f21a-c547-9c71c4c2f90c', 1, 1, '2026-11-28 09:19:39.515907+00'),
	('records', '6', 1, 0.76440215, false, '57e3cb4b-9842-9490-80f9-9721d1b9c3a8', 1, 1, '2026-11-28 09:19:39.515907+00'),
	('records', '8', 1, 0.78366804, false, '1a861bae-8328-8a6f-4e5f-14edc38dda54', 1, 1, '2026-11-28 09:19:39.515907+00'),
	('records', '10', 1, 0.6989678, false, 'aa4e670a-cd0c-0962-2d8f-4749517cba0c', 1, 1, '2026-11-28 09:19:40.312411+00'),
	('records', '11', 1, -0.15509227, false, '4db3a99d-51bf-e94d-796d-69ff10168ede', 1, 1, '2026-11-28 09:19:40.312411+00'),
	('records', '12', 1, 0.8038275, false, '42f8c406-7800-a575-ebec-6d6f4fbb747f', 1, 1, '2026-11-28 09:19:40.312411+00'),
	('records', '13', 1, 0.7972524, false, 'deb29959-4acd-c9e8-7747-c6b8c582adf2', 1, 1, '2026-11-28 09:19:40.312411+00'),
	('records', '14', 1, 0.79318905, false, 'be8cde1d-f7ea-cf9c-4311-570f5042cb94', 1, 1, '2026-11-28 09:19:40.312411+00'),
	('records', '15', 1, 0.7009856, false, '3b3c0c2e-661f-8c74-ee3f-00164dd36861', 1, 1, '2026-11-28 09:19:40.312411+00'),
	('records', '16', 1, 0.7142527, false, 'a3613918-6ce9-bbc4-5be8-3ccfc835ebc9', 1, 1, '2026-11-28 09:19:40.312411+00'),
	('records', '9', 1, 0.7385056, false, '45ee0535-6ec7-7683-ab11-fe7130034331', 1, 1, '2026-11-28 09:19:40.312411+00'),
	('records', '17', 1, 0.7135351, false, '1e72ff59-e88a-d679-56e8-8cba36d319ad', 1, 2, '2026-11-28 09:19:41.663915+00'),
	('records', '18', 1, 0.7793754, false, '7719e245-c599-c991-f781-6e78cd3a70ea', 1, 2, '2026-11-28 09:19:41.663915+00'),
	('records', '19', 1, 0.7362297, false, 'cd5e1e89-c050-b806-63ef-c92efdd556c1', 1, 2, '2026-11-28 09:19:41.663915+00'),
	('records', '21', 1, 0.81183827, false, '3d3219b1-4369-c9fb-4e78-f0827c08495a', 1, 2, '2026-11-28 09:19:41.663915+00'),
	('records', '22', 1, 0.79737234, false, 'c2e253e1-1773-49c2-a5f7-73a6558223ba', 1, 2, '2026-11-28 09:19:41.663915+00'),
	('records', '23', 1, 0.640679, false, '16a31ef0-cb7c-c16b-197f-cccb86a292cc', 1, 2, '2026-11-28 09:19:41.663915+00'),
	('records', '25', 1, 0.8358171, false, '10536a34-3f15-aed2-bfe7-71c617e95f64', 1, 2, '2026-11-28 09:19:42.552704+00'),
	('records', '26', 1, 0.8175968, false, 'f6977767-a963-4353-16fb-46de0b5952fb', 1, 2, '2026-11-28 09:19:42.552704+00'),
	('records', '27', 1, 0.7785271, false, 'f08f7c9a-1445-aee4-afaf-f2a4e05039f6', 1, 2, '2026-11-28 09:19:42.552704+00'),
	('records', '28', 1, 0.7877978, false, 'b122de0c-8813-c076-0c49-90e959d52e3f', 1, 2, '2026-11-28 09:19:42.552704+00'),
	('records', '29', 1, 0.72854173, false, '9f65fbba-b183-45d2-5658-c5deb963b1ce', 1, 2, '2026-11-28 09:19:42.552704+00'),
	('records', '30', 1, 0.6961124, false, 'dac7cfef-fbaf-b1e0-8a71-d9a6b3c49890', 1, 2, '2026-11-28 09:19:42.552704+00'),
	('records', '33', 1, 0.6414424, false, '7cb8785e-9a9c-a600-7582-fe7b6d125fa5', 1, 3, '2026-11-28 09:19:44.483885+00'),
	('records', '34', 1, 0.7700943, false, '9564c864-2b1a-8002-bb64-10cbcad75213', 1, 3, '2026-11-28 09:19:44.483885+00'),
	('records', '35', 1, 0.8053842, false, '078dac28-ca78-ffe6-1838-02dfc7a99225', 1, 3, '2026-11-28 09:19:44.483885+00'),
	('records', '36', 1, 0.74109566, false, '8176e089-7329-0a23-17d1-90d21f377c56', 1, 3, '2026-11-28 09:19:44.483885+00'),
	('records', '37', 1, 0.75033927, false, '4d7da213-df92-21b0-dfcb-da7dd14cf17d', 1, 3, '2026-11-28 09:19:44.483885+00'),
	('records', '38', 1, 0.22085124, false, '8acb33d8-e763-17df-1bd0-79451a508a50', 1, 3, '2026-11-28 09:19:44.483885+00'),
	('records', '39', 1, 0.723647, false, '952d9492-187b-0255-9f7c-de0f23fed16f', 1, 3, '2026-11-28 09:19:44.483885+00'),
	('records', '40', 1, 0.73085105, false, '8a753f12-e3f6-7b4a-f114-b0c244f24fdb', 1, 3, '2026-11-28 09:19:44.483885+00'),
	('records', '41', 1, 0.7947382, false, 'e8546249-ed28-d773-576e-a4961181b7f8', 1, 3, '2026-11-28 09:19:45.312546+00'),
	('records', '42', 1, 0.787624, false, '1e2e1817-f1d1-b937-f9b5-c691f8f2f9ec', 1, 3, '2026-11-28 09:19:45.312546+00'),
	('records', '43', 1, 0.82603526, false, 'dc084d74-3f19-9579-37ee-c33dc0686981', 1, 3, '2026-11-28 09:19:45.312546+00'),
	('records', '45', 1, 0.79706204, false, '26bb61a6-6a2c-4d22-019e-202bfd2b44aa', 1, 3, '2026-11-28 09:19:45.312546+00'),
	('records', '46', 1, 0.7252609, false, '562789d9-9e38-87e6-3b09-d950d3c2ac65', 1, 3, '2026-11-28 09:19:45.312546+00'),
	('records', '47', 1, 0.25110996, false, 'ef37ca2f-046d-7c4c-cb44-50dbe9208eef', 1, 3, '2026-11-28 09:19:45.312546+00'),
	('records', '48', 1, 0.79761475, false, '991e6211-d886-3172-1640-fe43ef0915e1', 1, 3, '2026-11-28 09:19:45.312546+00'),
	('records', '49', 1, 0.7070511, false, '4ec03c2b-5b72-deef-64fd-617145bf9361', 2, 4, '2026-11-28 09:20:01.423891+00'),
	('records', '50', 1, 0.70021516, false, '3b44da47-fc2d-3a97-1008-1338bf3f1b76', 2, 4, '2026-11-28 09:20:01.423891+00'),
	('records', '51', 1, 0.7925621, false, '6fe09a8b-6a5b-0b7d-4b58-bb5b9b051655', 2, 4, '2026-11-28 09:20:02.686848+00'),
	('records', '52', 1, 0.81294703, false, '5f70d565-66f7-7df1-eb97-1610c4daa229', 2, 4, '2026-11-28 09:20:02.686848+00'),
	('records', '53', 1, 0.8660705, false, 'd1b5828f-bd96-f403-c3f8-899fb9cd7f7a', 2, 4, '2026-11-28 09:20:02.686848+00'),
	('records', '54', 1, 0.69268274, false, '43c75550-88f0-8469-c17b-3cc7abd55070', 2, 4, '2026-11-28 09:20:02.686848+00'),
	('records', '55', 1, 0.76844025, false, 'b97df785-8468-dc56-4166-df3524e65abf', 2, 4, '2026-11-28 09:20:02.686848+00'),
	('records', '56', 1, 0.7504138, false, 'b3532bd8-bd0f-7b3d-b7c9-92bc8a9f681a', 2, 4, '2026-11-28 09:20:02.686848+00'),
	('records', '57', 1, 0.7196268, false, '17d5c6f3-3b74-95d7-55ad-aff6fd870f4f', 2, 4, '2026-11-28 09:20:02.686848+00'),
	('records', '58', 1, -0.22621927, false, 'ad34c37b-66d0-26e8-6bf9-41585766d6c2', 2, 4, '2026-11-28 09:20:02.686848+00'),
	('records', '59', 1, 0.74151176, false, '8d8793a7-270f-5512-b371-5195909e4588', 2, 5, '2026-11-28 09:20:03.905717+00'),
	('records', '60', 1, -0.12799932, false, '72036e86-e7a3-9020-8de7-c6bd4e059813', 2, 5, '2026-11-28 09:20:03.905717+00'),
	('records', '61', 1, 0.70714706, false, '9d184f7b-004f-4eeb-ccfa-b95f199e459d', 2, 5, '2026-11-28 09:20:03.905717+00'),
	('records', '62', 1, 0.8436877, false, 'd554f9c4-63d2-1ae2-1d05-e66ea86aea93', 2, 5, '2026-11-28 09:20:03.905717+00'),
	('records', '63', 1, 0.7974175, false, '215a2a4b-3eb3-9298-47bb-bddb231e63f1', 3, 6, '2026-11-28 09:20:19.882502+00'),
	('records', '64', 1, 0.78056014, false, '385cd0ef-367c-1608-2894-f2179f3125cc', 3, 6, '2026-11-28 09:20:19.882502+00'),
	('records', '65', 1, 0.8007839, false, '1ea8d6e7-db1f-58f0-bdcb-09af033696ba', 3, 6, '2026-11-28 09:20:19.882502+00'),
	('records', '66', 1, 0.82302547, false, 'ccc342e2-ab0f-90dc-5db0-ef7b01e19ade', 3, 6, '2026-11-28 09:20:19.882502+00'),
	('records', '68', 1, 0.64040065, false, '0c33f4c0-1c62-abf4-30de-4f53dd3be691', 3, 6, '2026-11-28 09:20:19.882502+00'),
	('records', '69', 1, -0.17532293, false, '2717a067-ea0e-6ca0-608e-01209d3ff4a0', 3, 6, '2026-11-28 09:20:19.882502+00'),
	('records', '70', 1, 0.7899287, false, 'da81ff03-85b6-2e2f-cf85-da6cc479a727', 3, 6, '2026-11-28 09:20:19.882502+00'),
	('records', '71', 1, 0.7363081, false, '18542afa-2183-2383-bf9b-55433964e12d', 3, 6, '2026-11-28 09:20:20.464781+00'),
	('records', '72', 1, 0.81802773, false, '88c1f120-7fdd-8db4-18fc-c6ee4aa54154', 3, 6, '2026-11-28 09:20:20.464781+00'),
	('records', '73', 1, 0.7156498, false, '75dbe3d7-262f-816f-30b6-d26dfdf6acb7', 3, 6, '2026-11-28 09:20:20.464781+00'),
	('records', '74', 1, 0.7929579, false, '90b2a458-4e10-7ffa-d805-75552fdc5bc6', 3, 6, '2026-11-28 09:20:20.464781+00'),
	('records', '75', 1, 0.8419311, false, 'efda2dab-823e-087b-4986-3d98ca781c21', 3, 6, '2026-11-28 09:20:20.464781+00'),
	('records', '77', 1, 0.7245124, false, '6803971a-4d70-d2a0-64c7-7abc4db11775', 3, 6, '2026-11-28 09:20:20.464781+00'),
	('records', '78', 1, -0.10999718, false, 'f58fb1f1-9f89-c455-7383-b6593c54699f', 3, 6, '2026-11-28 09:20:20.464781+00'),
	('records', '80', 1, 0.8326, false, 'aa0e953d-7c5c-db79-541a-3abd3ce4f344', 3, 7, '2026-11-28 09:20:28.492615+00'),
	('records', '81', 1, 0.745446, false, 'ba91798f-1931-6f5a-75da-b5610f794ff5', 3, 7, '2026-11-28 09:20:28.492615+00'),
	('records', '82', 1, 0.8034725, false, 'beb1a2d5-55f7-325f-463e-ef15a3eba9b4', 3, 7, '2026-11-28 09:20:28.492615+00'),
	('records', '83', 1, 0.69797325, false, 'd4949ab1-1b96-ce52-802d-59dc84bbf696', 3, 7, '2026-11-28 09:20:28.492615+00'),
	('records', '84', 1, 0.838768, false, '7cbe0291-025a-b20e-f354-73a0d261f79c', 3, 7, '2026-11-28 09:20:28.492615+00'),
	('records', '85', 1, -0.054301642, false, '19ca7ba6-8da1-327f-351c-ab263fc13c2c', 3, 7, '2026-11-28 09:20:28.492615+00'),
	('records', '86', 1, 0.66040045, false, '9bca94dd-7c97-280d-a463-96704bfca1f7', 3, 7, '2026-11-28 09:20:28.492615+00');

INSERT INTO clip.shard OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 0, '1', '17', '17', 1, '2026-11-28 09:34:40.312411+00', 16, 15, 1, 'done', '{"peaks": {"images_rows": 8, "memory_bytes": 539783168, "captions_rows": 4}, "counts": {"bytes": 209529, "backoffs": 0, "connections": 3, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 2, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 18, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 18, "decoder_timeouts": 0, "captions_repeated": 0}, "seconds": {"read": 0.294374, "wall": 2.630081, "fetch": 0.769767, "score": 1.334164, "commit": 0.118246, "decode": 0.196319}}', 1, 'host/4026531836/17315/594506', 'cpu'),
	(2, 1, 1, '17', '33', '33', 1, '2026-11-28 09:34:42.552704+00', 16, 12, 4, 'done', '{"peaks": {"images_rows": 8, "memory_bytes": 539783168, "captions_rows": 4}, "counts": {"bytes": 143306, "backoffs": 0, "connections": 0, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 0, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 12, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 12, "decoder_timeouts": 0, "captions_repeated": 0}, "seconds": {"read": 0.121155, "wall": 1.769632, "fetch": 0.039042, "score": 1.41676, "commit": 0.085282, "decode": 0.320712}}', 1, 'host/4026531836/17315/594506', 'cpu'),
	(4, 2, 0, '7', '59', '59', 1, '2026-11-28 09:35:02.686848+00', 16, 10, 6, 'done', '{"peaks": {"images_rows": 8, "memory_bytes": 569888768, "captions_rows": 4}, "counts": {"bytes": 83679, "backoffs": 0, "connections": 3, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 2, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 13, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 13, "decoder_timeouts": 0, "captions_repeated": 0}, "seconds": {"read": 0.300642, "wall": 2.428816, "fetch": 0.293309, "score": 1.412596, "commit": 0.255843, "decode": 0.206966}}', 1, 'host/4026531836/17315/594506', 'cpu'),
	(8, 3, 2, '95', '103', '95', 0, '2026-11-28 09:35:07.931558+00', 8, 0, 0, 'open', '{}', 0, NULL, NULL),
	(3, 1, 2, '33', '49', '49', 1, '2026-11-28 09:34:45.312546+00', 16, 15, 1, 'done', '{"peaks": {"images_rows": 8, "memory_bytes": 539783168, "captions_rows": 4}, "counts": {"bytes": 161872, "backoffs": 0, "connections": 3, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 2, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 15, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 15, "decoder_timeouts": 0, "captions_repeated": 0}, "seconds": {"read": 0.256459, "wall": 1.846381, "fetch": 0.239294, "score": 1.180222, "commit": 0.241409, "decode": 0.284951}}', 1, 'host/4026531836/17315/594506', 'cpu'),
	(5, 2, 1, '59', '63', '63', 1, '2026-11-28 09:35:03.905717+00', 4, 4, 0, 'done', '{"peaks": {"images_rows": 8, "memory_bytes": 569888768, "captions_rows": 4}, "counts": {"bytes": 67861, "backoffs": 0, "connections": 0, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 0, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 4, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 4, "decoder_timeouts": 0, "captions_repeated": 0}, "seconds": {"read": 0.059524, "wall": 0.775209, "fetch": 0.00183, "score": 0.565382, "commit": 0.0, "decode": 0.089066}}', 1, 'host/4026531836/17315/594506', 'cpu'),
	(6, 3, 0, '63', '79', '79', 1, '2026-11-28 09:35:20.464781+00', 16, 14, 2, 'done', '{"peaks": {"images_rows": 8, "memory_bytes": 572116992, "captions_rows": 4}, "counts": {"bytes": 201874, "backoffs": 0, "connections": 0, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 0, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 17, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 17, "decoder_timeouts": 0, "captions_repeated": 0}, "seconds": {"read": 0.269575, "wall": 2.04852, "fetch": 0.094072, "score": 1.205728, "commit": 0.121426, "decode": 0.766411}}', 1, 'host/4026531836/17315/594506', 'cpu'),
	(7, 3, 1, '79', '95', '87', 1, '2026-11-28 09:35:28.492615+00', 16, 7, 1, 'open', '{"peaks": {"images_rows": 8, "memory_bytes": 573558784, "captions_rows": 4}, "counts": {"bytes": 211474, "backoffs": 0, "connections": 1, "dns_lookups": 0, "oom_backoffs": 0, "fetch_retries": 1, "decoder_starts": 0, "float32_redone": 0, "hosts_given_up": 0, "images_encoded": 10, "decoder_crashes": 0, "images_repeated": 0, "captions_encoded": 10, "decoder_timeouts": 0, "captions_repeated": 0}, "seconds": {"read": 0.114842, "wall": 1.019982, "fetch": 0.024806, "score": 0.479293, "commit": 0.0, "decode": 0.367294}}', 1, NULL, 'cpu'),
	(9, 4, 0, '103', '120', '103', 0, '2026-11-28 09:35:30.123913+00', 16, 0, 0, 'open', '{}', 0, NULL, NULL),
	(10, 4, 1, '120', '136', '120', 0, '2026-11-28 09:35:30.123913+00', 16, 0, 0, 'open', '{}', 0, NULL, NULL),
	(11, 4, 2, '136', '141', '136', 0, '2026-11-28 09:35:30.123913+00', 5, 0, 0, 'open', '{}', 0, NULL, NULL);

SELECT pg_catalog.setval('clip.fingerprint_id_seq', 4, true);

SELECT pg_catalog.setval('clip.object_id_seq', 1, false);

SELECT pg_catalog.setval('clip.record_key_seq', 1, false);

SELECT pg_catalog.setval('clip.run_id_seq', 4, true);

SELECT pg_catalog.setval('clip.shard_id_seq', 11, true);

ALTER TABLE ONLY clip.fingerprint
    ADD CONSTRAINT fingerprint_digest_key UNIQUE (digest);

ALTER TABLE ONLY clip.fingerprint
    ADD CONSTRAINT fingerprint_pkey PRIMARY KEY (id);

ALTER TABLE ONLY clip.object
    ADD CONSTRAINT object_pkey PRIMARY KEY (id);

ALTER TABLE ONLY clip.object_row
    ADD CONSTRAINT object_row_object_id_record_key_key UNIQUE (object_id, record_key);

ALTER TABLE ONLY clip.object_row
    ADD CONSTRAINT object_row_pkey PRIMARY KEY (object_id, key);

ALTER TABLE ONLY clip.object
    ADD CONSTRAINT object_source_uri_version_key UNIQUE (source, uri, version);

ALTER TABLE ONLY clip.record
    ADD CONSTRAINT record_pkey PRIMARY KEY (key);

ALTER TABLE ONLY clip.rejection
    ADD CONSTRAINT rejection_pkey PRIMARY KEY (source, record_key, fingerprint_id);

ALTER TABLE ONLY clip.run
    ADD CONSTRAINT run_pkey PRIMARY KEY (id);

ALTER TABLE ONLY clip.run
    ADD CONSTRAINT run_run_key_key UNIQUE (run_key);

ALTER TABLE ONLY clip.schema_version
    ADD CONSTRAINT schema_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY clip.score
    ADD CONSTRAINT score_pkey PRIMARY KEY (source, record_key, fingerprint_id);

ALTER TABLE ONLY clip.shard
    ADD CONSTRAINT shard_pkey PRIMARY KEY (id);

ALTER TABLE ONLY clip.shard
    ADD CONSTRAINT shard_run_id_number_key UNIQUE (run_id, number);

CREATE INDEX object_by_key ON clip.object USING btree (source, first_key);

CREATE INDEX record_created_at ON clip.record USING btree (created_at);

CREATE INDEX rejection_by_reason ON clip.rejection USING btree (run_id, reason, next_attempt_at);

CREATE INDEX rejection_by_run ON clip.rejection USING btree (run_id, shard_id);

CREATE INDEX run_by_source ON clip.run USING btree (source, fingerprint_id, state, id);

CREATE INDEX run_by_start ON clip.run USING btree (started_at);

CREATE INDEX score_by_run ON clip.score USING btree (run_id, shard_id);

ALTER TABLE ONLY clip.object_row
    ADD CONSTRAINT object_row_object_id_fkey FOREIGN KEY (object_id) REFERENCES clip.object(id);

ALTER TABLE ONLY clip.run
    ADD CONSTRAINT run_fingerprint_id_fkey FOREIGN KEY (fingerprint_id) REFERENCES clip.fingerprint(id);

ALTER TABLE ONLY clip.shard
    ADD CONSTRAINT shard_run_id_fkey FOREIGN KEY (run_id) REFERENCES clip.run(id);
