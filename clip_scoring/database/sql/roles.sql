-- The three group roles and what each may do in schema clip; runs as one transaction, repeatable.
-- What is granted here is all that is granted: the REVOKEs take away whatever was there before.

-- Two databases of one cluster may be set up at once, and roles belong to the cluster.
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['clip_owner', 'clip_worker', 'clip_reader'] LOOP
        IF to_regrole(name) IS NULL THEN
            BEGIN
                EXECUTE 'CREATE ROLE ' || quote_ident(name) || ' NOLOGIN';
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    -- Only a member may give things away to a role. Whoever creates a role may join it.
    IF NOT pg_has_role(current_user, 'clip_owner', 'USAGE') THEN
        BEGIN
            GRANT clip_owner TO CURRENT_USER;
        EXCEPTION WHEN unique_violation THEN
            NULL;
        END;
    END IF;
END $$;

-- What an upgrade by a member created belongs to that member until now. Indexes and the sequences
-- of identity columns follow their tables.
DO $$
DECLARE owned record;
BEGIN
    IF (SELECT nspowner FROM pg_namespace WHERE nspname = 'clip') <> 'clip_owner'::regrole THEN
        ALTER SCHEMA clip OWNER TO clip_owner;
    END IF;
    FOR owned IN SELECT oid::regclass AS name FROM pg_class
                 WHERE relnamespace = 'clip'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
                   AND relowner <> 'clip_owner'::regrole ORDER BY oid
    LOOP
        EXECUTE 'ALTER TABLE ' || owned.name || ' OWNER TO clip_owner';
    END LOOP;
END $$;

REVOKE ALL ON SCHEMA clip FROM PUBLIC, clip_worker, clip_reader;
REVOKE ALL ON ALL TABLES IN SCHEMA clip FROM PUBLIC, clip_worker, clip_reader;

GRANT USAGE ON SCHEMA clip TO clip_worker, clip_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA clip TO clip_worker, clip_reader;

-- A fingerprint says what a similarity was made with: nobody changes one, nobody deletes one.
GRANT INSERT ON clip.fingerprint TO clip_worker;
GRANT INSERT ON clip.object_row TO clip_worker;
GRANT INSERT, UPDATE ON clip.object, clip.run, clip.shard TO clip_worker;
-- A record has one outcome: storing a score deletes its rejection, and the other way round.
GRANT INSERT, UPDATE, DELETE ON clip.score, clip.rejection TO clip_worker;
