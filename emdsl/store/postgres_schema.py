"""The tables of a store on PostgreSQL, made and brought up to date by migrations, and the roles that may use them.

All tables are in the schema `emdsl` of a database. Triggers update the counters, so that no program can skip them, and
functions with the rights of the owner are the only way to move an answer.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from emdsl.errors import StoreError

if TYPE_CHECKING:
    from psycopg import Connection

LOCKS = int.from_bytes(b"emds", "big")  # the class of our advisory locks; the second number is an owner, or one below
MIGRATION = 0  # no owner has this number: who holds this lock changes the tables

_FIRST = """
CREATE SCHEMA IF NOT EXISTS emdsl;

CREATE TABLE emdsl.about (name text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO emdsl.about VALUES ('format', 0), ('removals', 0),
  ('store', ('x' || left(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint);

CREATE TABLE emdsl.answers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key bytea NOT NULL UNIQUE CHECK (octet_length(key) = 32),
  entry bytea NOT NULL,
  paid_by text NOT NULL DEFAULT session_user,
  stored_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE emdsl.answers ALTER COLUMN entry SET STORAGE EXTERNAL;  -- an entry that shrinks is compressed already

-- The number of answers, in parts: writers of one row would wait for each other.
CREATE TABLE emdsl.counts (part int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO emdsl.counts SELECT part, 0 FROM generate_series(0, 63) part;

CREATE TABLE emdsl.trash (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  why text NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  key bytea NOT NULL,
  entry bytea NOT NULL,
  paid_by text NOT NULL,
  removed_by text NOT NULL DEFAULT session_user
);
ALTER TABLE emdsl.trash ALTER COLUMN entry SET STORAGE EXTERNAL;
CREATE INDEX ON emdsl.trash (name);
CREATE INDEX ON emdsl.trash (key);

-- A process that uses the store is alive while its session holds the advisory lock (LOCKS, id).
CREATE TABLE emdsl.owners (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run text NOT NULL,
  role text NOT NULL DEFAULT session_user,
  machine text NOT NULL,
  pid int NOT NULL,
  begun_at timestamptz NOT NULL DEFAULT now()
);
CREATE VIEW emdsl.live_owners AS SELECT o.* FROM emdsl.owners o WHERE o.id::bigint IN (
  SELECT objid::bigint FROM pg_catalog.pg_locks
  WHERE locktype = 'advisory' AND classid = {locks} AND objsubid = 2 AND granted
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
);
-- Without a log: after a crash of the server no owner is alive, and no claim counts.
CREATE UNLOGGED TABLE emdsl.claims (key bytea PRIMARY KEY, owner int NOT NULL);
CREATE INDEX ON emdsl.claims (owner);

CREATE TABLE emdsl.budgets (
  name text PRIMARY KEY,
  limit_usd numeric NOT NULL CHECK (limit_usd >= 0),
  spent_usd numeric NOT NULL DEFAULT 0 CHECK (spent_usd >= 0),
  made_by text NOT NULL DEFAULT session_user,
  made_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE emdsl.purses (
  budget text NOT NULL REFERENCES emdsl.budgets (name),
  owner int NOT NULL,  -- of emdsl.owners, whose row is removed some time after its process has ended
  usd numeric NOT NULL CHECK (usd >= 0),
  role text NOT NULL DEFAULT session_user,
  PRIMARY KEY (budget, owner)
);

CREATE FUNCTION emdsl.count_added() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE n_added bigint := (SELECT count(*) FROM added);
BEGIN
  IF n_added > 0 THEN
    UPDATE emdsl.counts SET n = n + n_added WHERE part = pg_backend_pid() % 64;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER added AFTER INSERT ON emdsl.answers
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION emdsl.count_added();

CREATE FUNCTION emdsl.count_removed() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE n_removed bigint := (SELECT count(*) FROM removed);
BEGIN
  IF n_removed > 0 THEN
    UPDATE emdsl.about SET value = value + n_removed WHERE name = 'removals';
    UPDATE emdsl.counts SET n = n - n_removed WHERE part = pg_backend_pid() % 64;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER removed AFTER DELETE ON emdsl.answers
REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION emdsl.count_removed();

CREATE FUNCTION emdsl.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'answers are not truncated: move them to the trash';
END $$;
CREATE TRIGGER truncated BEFORE TRUNCATE ON emdsl.answers FOR EACH STATEMENT EXECUTE FUNCTION emdsl.refuse();

-- An answer that comes back from the trash was paid for by whoever paid for it the first time.
CREATE FUNCTION emdsl.adopt(bytea[], bytea[]) RETURNS bigint LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH added AS (
    INSERT INTO emdsl.answers (key, entry, paid_by)
    SELECT e.key, e.entry, coalesce((
      SELECT t.paid_by FROM emdsl.trash t WHERE t.key = e.key AND t.entry = e.entry ORDER BY t.id LIMIT 1
    ), session_user)
    FROM unnest($1, $2) AS e (key, entry)
    ON CONFLICT (key) DO NOTHING RETURNING 1)
  SELECT count(*) FROM added
$$;

CREATE FUNCTION emdsl.move_to_trash(bytea[], why text, name text) RETURNS bigint LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH removed AS (DELETE FROM emdsl.answers a WHERE a.key = ANY ($1) RETURNING a.key, a.entry, a.paid_by),
  kept AS (
    INSERT INTO emdsl.trash (name, why, key, entry, paid_by)
    SELECT $3, $2, r.key, r.entry, r.paid_by FROM removed r RETURNING 1)
  SELECT count(*) FROM kept
$$;

-- Damaged entries, unless somebody else has replaced them meanwhile.
CREATE FUNCTION emdsl.move_damaged(bytea[], bytea[]) RETURNS bigint LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH removed AS (
    DELETE FROM emdsl.answers a USING unnest($1, $2) AS d (key, entry)
    WHERE a.key = d.key AND a.entry = d.entry RETURNING a.key, a.entry, a.paid_by),
  kept AS (
    INSERT INTO emdsl.trash (name, why, key, entry, paid_by)
    SELECT '', 'damaged', r.key, r.entry, r.paid_by FROM removed r RETURNING 1)
  SELECT count(*) FROM kept
$$;

-- A restored answer leaves the trash; everything else there is deleted by an admin alone.
CREATE FUNCTION emdsl.purge_restored(name text) RETURNS bigint LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH gone AS (
    DELETE FROM emdsl.trash t USING emdsl.answers a
    WHERE t.name = $1 AND a.key = t.key AND a.entry = t.entry RETURNING 1)
  SELECT count(*) FROM gone
$$;

-- The claims of processes that have ended. Whose session has ended cannot claim again: its number is used once.
CREATE FUNCTION emdsl.forget_dead() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE dead int[] := ARRAY(SELECT id FROM emdsl.owners EXCEPT SELECT id FROM emdsl.live_owners);
BEGIN
  DELETE FROM emdsl.claims WHERE key IN (
    SELECT key FROM emdsl.claims WHERE owner = ANY (dead) ORDER BY key FOR UPDATE);
  DELETE FROM emdsl.owners WHERE id = ANY (dead);
END $$;

REVOKE ALL ON SCHEMA emdsl FROM PUBLIC;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA emdsl FROM PUBLIC;
"""

MIGRATIONS = (_FIRST.replace("{locks}", str(LOCKS)),)  # one is never changed after its release: a new one is added
FORMAT = len(MIGRATIONS)  # of the store; one of a higher number is a newer emdsl's


def roles_sql() -> str:
    """Return the SQL that makes the roles emdsl_reader, emdsl_writer and emdsl_admin, for psql."""
    return files("emdsl.store").joinpath("roles.sql").read_text(encoding="utf-8")


def known_format(database: Connection, name: str) -> int:
    """Return the format of a store, 0 before its first migration; raises StoreError for that of a newer version.

    Args:
        database: A connection, that commits each statement.
        name: The database in messages, without a password.
    """
    # by a look at the catalog: to_regclass would remember that another session had not made it yet
    if not database.execute("SELECT FROM pg_tables WHERE schemaname = 'emdsl' AND tablename = 'about'").fetchall():
        return 0
    row = database.execute("SELECT value FROM emdsl.about WHERE name = 'format'").fetchone()
    if row is None or row[0] > FORMAT:
        raise StoreError(f"{name} was written by a newer version: upgrade emdsl")
    return int(row[0])


def migrate(database: Connection, name: str) -> None:
    """Make the tables of a store, or bring them up to date; raises psycopg.Error, and StoreError as `known_format`.

    Of several processes one migrates, and the others wait for it.
    """
    if known_format(database, name) == FORMAT:
        return
    with database.transaction():
        database.execute("SET LOCAL statement_timeout = 0")
        database.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, MIGRATION))
        for migration in MIGRATIONS[known_format(database, name) :]:
            database.execute(migration.encode())
        database.execute("UPDATE emdsl.about SET value = %s WHERE name = 'format'", (FORMAT,))
