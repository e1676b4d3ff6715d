"""The store on PostgreSQL, where it is more than every store: roles, a server that goes away, names of who paid."""

from __future__ import annotations

import asyncio
import re
import runpy
import subprocess
import sys
import threading
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pg
import psycopg
import pytest
from store.conformance import answer, entry, put, texts
from store.test_disk import query

from emdsl.errors import SetupError, StoreAway, StoreError
from emdsl.store import postgres_connection
from emdsl.store.postgres import PostgresStore
from emdsl.store.postgres_budgets import PostgresLedger, add_budget
from emdsl.store.postgres_claims import PostgresClaims, live_owners
from emdsl.store.postgres_connection import Address
from emdsl.store.postgres_schema import roles_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

ON_A_SERVER = pytest.mark.thorough(only="a second of several connections")
A, B = bytes(32), b"b" * 32


@pytest.fixture
def url() -> str:
    return pg.emptied_database()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(url)) as found:
        yield found


def sql(url: str, text: str) -> list[tuple[object, ...]]:
    return pg.server().sql(text, url.rpartition("/")[2])


def as_role(url: str, role: str, *, member_of: str = "") -> str:
    """Make a role, and return the URL with which it opens the database."""
    sql(url, f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN {member_of and 'IN ROLE ' + member_of}")
    return pg.server().url(url.rpartition("/")[2], role)


# ------------------------------------------------------------------ roles


@ON_A_SERVER
def test_roles_may_do_what_they_are_for(url: str) -> None:
    """A reader reads, a writer stores, claims, trashes and restores, an admin deletes permanently."""
    owner = as_role(url, "boss")
    sql(url, f"ALTER ROLE boss CREATEROLE; ALTER DATABASE {url.rpartition('/')[2]} OWNER TO boss")
    with closing(PostgresStore(owner)) as store, psycopg.connect(owner, autocommit=True) as database:
        for _ in range(2):  # again, after an upgrade
            database.execute(roles_sql().encode())
        put(store, {0: "mine", 1: "mine"})
    nobody, reader, writer, admin = (
        as_role(url, f"a_{name}", member_of=name and f"emdsl_{name}") for name in ("", "reader", "writer", "admin")
    )
    for read_only in (True, False):
        with pytest.raises(StoreError, match=r"role `a_` may not .* GRANT emdsl_writer"):
            PostgresStore(nobody, read_only=read_only)
    with closing(PostgresStore(writer, read_only=True)) as only_reads:
        for refused in (lambda: put(only_reads, {5: "x"}), lambda: only_reads.adopt([entry(5, "x")])):
            with pytest.raises(StoreError, match="is open to read alone"):
                refused()
    with closing(PostgresStore(reader)) as reads:
        assert texts(reads, range(3)) == {0: "mine", 1: "mine"}
        assert reads.still_holds(reads.state())
        assert (reads.trash(), reads.damage(), len(reads.sample(5))) == ([], "", 2)
        denied = r"role `a_reader` may not do this .*permission denied.* GRANT emdsl_writer"
        for change in (
            lambda: put(reads, {5: "x"}),
            lambda: reads.adopt([entry(5, "x")]),
            lambda: reads.move_to_trash([query(0).key], "why"),
            lambda: PostgresClaims(reader, "run"),  # before anything is sent
        ):
            with pytest.raises(StoreError, match=denied):
                change()
        with pytest.raises(StoreError, match="only an admin"):
            reads.purge(None)
    with closing(PostgresStore(writer)) as writes, closing(PostgresClaims(writer, "run")) as claims:
        assert claims.take([A]) == {A}
        assert put(writes, {1: "theirs", 2: "theirs"}) == {1: "mine", 2: "theirs"}
        assert writes.move_to_trash([query(i).key for i in range(3)], "why", "b1") == 3
        with pytest.raises(StoreError, match=r"only an admin .*: 3 of removal `b1` stay in the trash"):
            writes.purge("b1")
        put(writes, {1: "again"})
        assert writes.adopt(writes.trash_entries("b1")) == (2, 1)
        assert writes.purge("b1") == 2  # restored; the answer that has a newer one stays in the trash
        assert sql(url, "SELECT paid_by, removed_by FROM emdsl.trash") == [("boss", "a_writer")]
        with psycopg.connect(writer, autocommit=True) as database:
            for change_sql in (
                "DELETE FROM emdsl.answers", "UPDATE emdsl.answers SET entry = ''", "TRUNCATE emdsl.answers",
                "UPDATE emdsl.counts SET n = 0", "UPDATE emdsl.about SET value = 0", "DELETE FROM emdsl.trash",
                "INSERT INTO emdsl.answers (key, entry, paid_by) VALUES (sha256('x'), 'x', 'somebody')",
                "UPDATE emdsl.budgets SET made_by = 'me'", "DELETE FROM emdsl.budgets", "DROP TABLE emdsl.claims",
            ):  # fmt: skip
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    database.execute(change_sql.encode())
    paid = {str(key): role for key, role in sql(url, "SELECT encode(key, 'hex'), paid_by FROM emdsl.answers")}
    assert [paid[query(i).key.hex()] for i in range(3)] == ["boss", "a_writer", "a_writer"]
    with closing(PostgresStore(admin)) as admits:
        assert admits.purge(None) == 1


@ON_A_SERVER
def test_tables_are_made_by_whoever_may(url: str) -> None:
    """A person without that right is told who can do it; several who come first make them once."""
    guest = as_role(url, "guest")
    with closing(PostgresStore(guest, read_only=True)) as empty:
        assert empty.state().n == 0
    with pytest.raises(StoreError, match=r"no tables of this version, and the role `guest` may not make them"):
        PostgresStore(guest)
    with pytest.raises(StoreError, match="no tables of this version: open the store first"):
        PostgresClaims(url, "run")
    assert live_owners(url) == []
    found: list[PostgresStore] = []
    threads = [threading.Thread(target=lambda: found.append(PostgresStore(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.state().store for store in found}) == 1
    assert len(found) == 4
    for store in found:
        store.close()


@ON_A_SERVER
def test_rows_that_others_change_are_counted(url: str, store: PostgresStore) -> None:
    """Deleting by hand is noticed, emptying the table is refused, and a lost row is damage."""
    put(store, {0: "a", 1: "b", 2: "c"})
    before = store.state()
    sql(url, f"DELETE FROM emdsl.answers WHERE key = '\\x{query(0).key.hex()}'")
    assert not store.still_holds(before)
    assert (store.state().n, store.damage()) == (2, "")
    with pytest.raises(psycopg.errors.RaiseException, match="move them to the trash"):
        sql(url, "TRUNCATE emdsl.answers")
    sql(url, "SET session_replication_role = replica; DELETE FROM emdsl.answers")  # no trigger sees it
    assert "it has 0 answers, and 2 were counted" in store.damage()


# ------------------------------------------------------------------ a server that is away


@ON_A_SERVER
def test_a_lost_connection_is_made_again_to_read(url: str, store: PostgresStore) -> None:
    """Once, silently; who writes is told, since claims have ended with their connection."""
    claims = PostgresClaims(url, "run")
    put(store, {0: "a"})
    claims.take([A])
    claims.check()
    sql(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
             f"AND datname = '{url.rpartition('/')[2]}'")  # fmt: skip
    assert texts(store, range(3)) == {0: "a"}
    # each time, the first error
    cause = r"was lost \((terminating connection due to|consuming input failed: server closed)"
    for _ in range(2):
        with pytest.raises(StoreAway, match=r"connection to postgresql://127.0.0.1/t\d+ " + cause):
            put(store, {1: "b"})
        with pytest.raises(StoreAway, match=cause):
            claims.check()
        with pytest.raises(StoreAway, match=cause):
            claims.take([A])
        with pytest.raises(StoreAway, match=cause):
            assert claims.alone
    with closing(PostgresClaims(url, "next")) as following:
        assert following.take([A]) == {A}  # free at once
        assert [(o.run, o.role) for o in live_owners(url)] == [("next", "postgres")]
    claims.close()


@ON_A_SERVER
def test_a_server_that_is_stopped_and_started() -> None:
    """Away, and back: what is acknowledged is there, also after the server was killed."""
    server = pg.Server(durable=True)
    url = server.new_database()
    store, acknowledged = PostgresStore(url), set[int]()

    async def work() -> None:
        stop = asyncio.get_running_loop().call_later(0.3, server.kill)
        number = 0
        try:
            while True:
                part = range(number, number + 50)
                await asyncio.gather(*[store.put(query(i), answer(f"{i}")) for i in part])
                acknowledged.update(part)
                number += 50
        finally:
            stop.cancel()

    with pytest.raises(StoreAway):
        asyncio.run(work())
    with pytest.raises(StoreAway, match=r"cannot be reached .*refused"):
        store.state()
    with pytest.raises(StoreAway, match="cannot be reached"):
        PostgresStore(url)
    server.start()
    assert acknowledged
    assert texts(store, acknowledged) == {i: f"{i}" for i in acknowledged}
    assert (store.damage(), store.corrupt) == ("", set())
    with closing(PostgresClaims(url, "run")) as claims:
        assert claims.take([A]) == {A}
    store.close()
    server.remove()


@ON_A_SERVER
def test_a_store_that_is_busy_is_not_waited_for_without_end(url: str, store: PostgresStore) -> None:
    """Somebody else has locked the table."""
    put(store, {0: "a"})
    impatient = PostgresStore(f"{url}?options=-c%20lock_timeout%3D50ms")
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE emdsl.answers")
        with pytest.raises(StoreAway, match="did not answer in time"):
            texts(impatient, [0])
        with pytest.raises(StoreAway, match="did not answer in time"):
            put(impatient, {1: "b"})
    assert texts(impatient, range(3)) == {0: "a"}
    impatient.close()


# ------------------------------------------------------------------ URLs


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hunter2@home@127.0.0.1/lab", "postgresql://ada:hunter2/x@127.0.0.1/lab",
        "postgresql://ada:hunter2?x@127.0.0.1/lab", "postgresql://ada:hunter2#x@127.0.0.1/lab",
        "postgresql://ada:hunter2%zz@127.0.0.1/lab", "postgresql://ada:pw@127.0.0.1:hunter2/lab",
        "mysql://ada:hunter2@127.0.0.1/lab", "hunter2", "postgresql://ada:hunter2@127.0.0.1",
        "postgresql://ada:hunter2@127.0.0.1/lab?sslmode=hunter2", "postgresql://ada:hunter2@127.0.0.1:1/lab",
        "postgresql://ada:hunter2@no-such-host.invalid/lab", "postgresql://127.0.0.1/lab?pasword=hunter2",
        "postgresql://127.0.0.1/lab?password=a&hunter2", "postgresql://127.0.0.1/lab?hunter2=hunter2",
    ],
)  # fmt: skip
def test_no_error_shows_a_password(url: str) -> None:
    """However wrong the URL is."""
    with pytest.raises(StoreError) as error:
        PostgresStore(url)
    shown = "".join(f"{e!r} {e}" for e in (error.value, error.value.__cause__) if e is not None)
    assert "hunter2" not in shown
    known = ("postgresql://", "percent-encoded", "cannot be", "did you mean `password`?", "write & as %26")
    assert any(part in shown for part in known)


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("pasword=x", "unknown parameter `pasword`; did you mean `password`?"),
        ("sslmode=disable&sslrootcrt=x", "unknown parameter `sslrootcrt`; did you mean `sslrootcert`?"),
        ("conect_timeout=3", "unknown parameter `conect_timeout`; did you mean `connect_timeout`?"),
    ],
)
def test_a_misspelt_option_of_a_url_gets_the_right_one(option: str, hint: str) -> None:
    """It was reported as a password that is not percent-encoded."""
    with pytest.raises(StoreError, match=re.escape(hint)):
        PostgresStore(f"postgresql://h/db?{option}")


def test_the_name_of_a_store_has_no_password() -> None:
    """As messages show it."""
    address = Address("postgresql://ada:hunter2@db.lab:5433/answers?sslmode=disable&")
    assert address.name == "postgresql://db.lab/answers"
    assert repr(address) == "Address(postgresql://db.lab/answers)"


@ON_A_SERVER
def test_wrong_passwords_and_databases_are_no_server_that_is_away(url: str) -> None:
    """To wait would not help."""
    database = url.rpartition("/")[2]
    sql(url, "CREATE ROLE with_password")
    sql(url, "CREATE ROLE bea LOGIN PASSWORD 'right-1' IN ROLE with_password")
    sql(url, f"GRANT CREATE ON DATABASE {database} TO bea")
    PostgresStore(pg.server().url(database, "bea", "right-1")).close()
    for wrong, match in [
        (pg.server().url(database, "bea", "wrong-1"), "refuses the role or its password"),
        (pg.server().url(database, "bea"), "password"),
        (pg.server().url(database, "nobody"), "cannot be opened: .*does not exist"),
        (pg.server().url("no_such"), 'cannot be opened: .*database "no_such" does not exist'),
    ]:
        with pytest.raises(StoreError, match=match) as error:
            PostgresStore(wrong)
        assert not isinstance(error.value, StoreAway)
        assert "wrong-1" not in str(error.value)


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is a missing setting."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SetupError, match=r"pip install 'emdsl\[postgres\]'"):
        runpy.run_path(str(Path(postgres_connection.__file__)))


@ON_A_SERVER
def test_a_server_without_tls_is_told_with_what_to_do(url: str) -> None:
    with pytest.raises(StoreError, match=r"SSL was required\. Let the server use TLS, or choose another `sslmode`"):
        PostgresStore(f"{url}?sslmode=require")


@ON_A_SERVER
def test_a_dump_is_a_backup(store: PostgresStore, url: str) -> None:
    """`pg_dump` and `psql` make the same store elsewhere, and no claim of the dump counts there."""
    put(store, {i: f"{i}" for i in range(20)})
    store.move_to_trash([query(3).key], "gc: not used by \udcff.em", "b1")
    with closing(PostgresClaims(url, "run")) as claims:
        claims.take([A])
        dump = subprocess.run([f"{pg.programs()}/pg_dump", url], stdout=subprocess.PIPE, check=True).stdout
    restored = pg.new_database()
    psql = [f"{pg.programs()}/psql", "-q", "-v", "ON_ERROR_STOP=1", restored]
    subprocess.run(psql, input=dump, stdout=subprocess.DEVNULL, check=True)
    with closing(PostgresStore(restored)) as copy:
        assert copy.state() == store.state()
        assert (copy.trash(), copy.damage(), list(copy.each())) == (store.trash(), "", list(store.each()))
        assert put(copy, {3: "again", 4: "again"}) == {3: "again", 4: "4"}
    with closing(PostgresClaims(restored, "run")) as claims:
        assert claims.alone
        assert claims.take([A]) == {A}


def test_a_frozen_server_is_away_and_a_slow_one_is_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel keeps the link, and the timeouts of statements are its own: both would wait for ever."""
    monkeypatch.setattr(postgres_connection, "SILENCE_S", 0.2)
    with closing(PostgresStore(url + "?connect_timeout=2")) as store:
        put(store, {0: "mine"})
        with closing(store.address.connect()) as connection:
            assert connection.execute("SELECT 1 FROM pg_sleep(0.7)").fetchall() == [(1,)]
            claims = PostgresClaims(url + "?connect_timeout=2", "run")
            with pg.server().frozen():
                for statement in (lambda: claims.take([A]), claims.check, lambda: claims.alone):
                    with pytest.raises(StoreAway, match="it is frozen or overloaded"):
                        statement()
                with pytest.raises(StoreAway, match="cannot be reached"):
                    PostgresStore(url + "?connect_timeout=2")
                claims.close()
        assert texts(store, range(1)) == {0: "mine"}


def test_a_server_that_dies_between_the_statements_of_a_draw_is_told_once(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the error of emdsl: psycopg logs what it ignores, and Python prints it."""
    with closing(PostgresStore(url)):
        add_budget(url, "pilot", Decimal(1))
    with closing(PostgresClaims(url, "run")) as claims, closing(PostgresLedger(url, "pilot", claims.owner)) as ledger:
        sql(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'emdsl'")
        for _ in range(2):
            with pytest.raises(StoreAway, match=r"was lost \((?!the connection is closed).*are kept on this machine"):
                asyncio.run(ledger.draw("pilot", Decimal("0.1"), Decimal("0.2")))
    assert not caplog.records
