-- The roles of a store of answers. Run it with psql, as a role that may create roles, after emdsl has opened the
-- database for the first time, and again after each upgrade of emdsl:
--
--     psql -v ON_ERROR_STOP=1 -f roles.sql postgresql://DATABASE
--
-- Then give each person one of them:  GRANT emdsl_writer TO ada;
--
-- emdsl_reader  reads answers, the trash, budgets and who uses the store.
-- emdsl_writer  also stores answers, claims requests, spends from budgets, moves answers to the trash and restores them.
--               It cannot change or delete an answer, and cannot choose the name in `paid_by` and `removed_by`.
-- emdsl_admin   owns the tables: it also deletes the trash permanently and brings the tables up to date.

BEGIN;

DO $$
DECLARE
  role text;
  item record;
BEGIN
  FOREACH role IN ARRAY ARRAY['emdsl_reader', 'emdsl_writer', 'emdsl_admin'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', role);
    END IF;
  END LOOP;
  GRANT emdsl_reader TO emdsl_writer;
  GRANT emdsl_writer TO emdsl_admin;
  IF NOT pg_has_role(current_user, 'emdsl_admin', 'MEMBER') THEN
    EXECUTE format('GRANT emdsl_admin TO %I', current_user);  -- only a member may give tables to a role
  END IF;
  EXECUTE format('GRANT CREATE ON DATABASE %I TO emdsl_admin', current_database());
  ALTER SCHEMA emdsl OWNER TO emdsl_admin;
  FOR item IN SELECT relname, relkind FROM pg_class
    WHERE relnamespace = 'emdsl'::regnamespace AND relkind IN ('r', 'v')
  LOOP
    EXECUTE format('ALTER %s emdsl.%I OWNER TO emdsl_admin', CASE item.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
      item.relname);
  END LOOP;
  FOR item IN SELECT oid::regprocedure AS signature FROM pg_proc WHERE pronamespace = 'emdsl'::regnamespace LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO emdsl_admin', item.signature);
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA emdsl TO emdsl_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA emdsl TO emdsl_reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA emdsl TO emdsl_reader;

GRANT INSERT (key, entry) ON emdsl.answers TO emdsl_writer;
GRANT INSERT (run, machine, pid), DELETE ON emdsl.owners TO emdsl_writer;
GRANT INSERT, UPDATE, DELETE ON emdsl.claims TO emdsl_writer;
GRANT INSERT (name, limit_usd), UPDATE (limit_usd, spent_usd) ON emdsl.budgets TO emdsl_writer;
GRANT INSERT (budget, owner, usd), UPDATE (usd), DELETE ON emdsl.purses TO emdsl_writer;
GRANT EXECUTE ON FUNCTION emdsl.adopt, emdsl.move_to_trash, emdsl.move_damaged, emdsl.purge_restored, emdsl.forget_dead
  TO emdsl_writer;

COMMIT;
