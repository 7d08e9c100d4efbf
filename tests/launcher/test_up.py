import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from launcher import plan, postgres, processes, valkey
from launcher.down import down
from launcher.errors import LauncherError
from launcher.places import Places
from launcher.settings import LauncherSettings
from launcher.status import Status, status
from launcher.supervisor import Supervisor
from launcher.up import up

DATABASES = ("postgres", "valkey")


def connect(settings: LauncherSettings) -> psycopg.Connection:
    url = postgres.url(Places(settings.var)).replace("+psycopg", "")
    return psycopg.connect(url, autocommit=True)


def cache(settings: LauncherSettings) -> redis.Redis:
    password = valkey.ensure_password(Places(settings.var))
    return redis.Redis.from_url(valkey.url(plan.VALKEY_PORT + settings.port_offset, password))


def pid_of(settings: LauncherSettings, program: str) -> int:
    return Supervisor(Places(settings.var)).states()[program].pid


def of_program(settings: LauncherSettings, program: str) -> Status:
    return next(row for row in status(settings) if row.name == program)


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.1)


def test_the_embedded_database_has_vectors(make_instance):
    settings = make_instance()
    up(settings, ["postgres"])
    with connect(settings) as connection:
        row = connection.execute("SELECT '[1,2,3]'::vector <-> '[1,2,4]'::vector").fetchone()
        assert row == (1.0,)
        # The owner can make what a service makes: its schema.
        connection.execute("CREATE SCHEMA gateway")


def test_korean_is_sorted_and_folded_alike_on_every_machine(make_instance):
    settings = make_instance()
    up(settings, ["postgres"])
    with connect(settings) as connection:
        row = connection.execute("SELECT upper('é'), '가' < '나', length('담소')").fetchone()
    assert row == ("É", True, 2)


def test_a_killed_database_comes_back_with_what_it_had(make_instance):
    settings = make_instance()
    up(settings, ["postgres"])
    with connect(settings) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    killed = pid_of(settings, "postgres")
    os.kill(killed, signal.SIGKILL)

    eventually(lambda: pid_of(settings, "postgres") not in (0, killed))
    eventually(lambda: of_program(settings, "postgres").health == "ready")
    with connect(settings) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_the_cache_wants_its_password_and_keeps_what_it_acknowledged(make_instance):
    settings = make_instance()
    up(settings, ["valkey"])
    port = plan.VALKEY_PORT + settings.port_offset
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port).ping()
    cache(settings).set("kept", "7")
    assert cache(settings).config_get("appendonly") == {"appendonly": "yes"}
    assert cache(settings).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    down(settings)
    up(settings, ["valkey"])
    assert cache(settings).get("kept") == b"7"


def test_two_instances_run_side_by_side(make_instance):
    first, second = make_instance(), None
    up(first, DATABASES)
    second = make_instance()
    up(second, DATABASES)
    with connect(first) as connection:
        connection.execute("CREATE SCHEMA only_in_the_first")
    with connect(second) as connection:
        found = connection.execute(
            "SELECT 1 FROM pg_namespace WHERE nspname = 'only_in_the_first'"
        ).fetchall()
    assert found == []
    down(first)
    assert all(row.fine for row in status(second))


def test_down_leaves_no_process_and_no_connection(make_instance):
    settings = make_instance()
    up(settings, DATABASES)
    ours = processes.of_instance(settings.var)
    assert len(ours) > len(DATABASES)
    down(settings)
    assert psutil.wait_procs(ours, timeout=5)[1] == []
    with pytest.raises(LauncherError, match="not up"):
        status(settings)
    down(settings)  # nothing to do is no error


def test_down_finds_what_a_killed_supervisor_has_left(make_instance):
    settings = make_instance()
    up(settings, DATABASES)
    ours = processes.of_instance(settings.var)
    kill_supervisor(settings)
    assert any(process.is_running() for process in ours)
    down(settings)
    assert psutil.wait_procs(ours, timeout=5)[1] == []


def test_up_recovers_from_a_killed_supervisor(make_instance):
    settings = make_instance()
    up(settings, DATABASES)
    kill_supervisor(settings)
    up(settings, DATABASES)
    assert all(row.fine for row in status(settings))


def kill_supervisor(settings: LauncherSettings) -> None:
    pid = int((Places(settings.var).run / "supervisord.pid").read_text())
    process = psutil.Process(pid)
    process.kill()
    process.wait(10)


def test_up_again_changes_nothing_and_adds_what_is_missing(make_instance, capsys):
    settings = make_instance()
    up(settings, ["postgres"])
    first = pid_of(settings, "postgres")
    assert of_program(settings, "valkey").state == "off"
    up(settings, DATABASES)
    up(settings, DATABASES)
    assert "already up" in capsys.readouterr().out
    assert pid_of(settings, "postgres") == first
    assert of_program(settings, "valkey").health == "ready"


def test_changed_settings_restart_only_what_they_concern(make_instance):
    settings = make_instance()
    up(settings, DATABASES)
    before = {name: pid_of(settings, name) for name in DATABASES}
    moved = make_instance(var=settings.var, port_offset=settings.port_offset + 1)
    up(moved, ["valkey"])
    assert pid_of(settings, "postgres") == before["postgres"]
    assert pid_of(settings, "valkey") != before["valkey"]
    assert cache(moved).ping()


def test_a_taken_port_is_named(make_instance):
    settings = make_instance()
    with socket.create_server(("127.0.0.1", plan.VALKEY_PORT + settings.port_offset)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LauncherError, match=f"port {port}.*\n.*DAMSO_PORT_OFFSET"):
            up(settings, DATABASES)


def test_a_program_that_dies_again_and_again_is_shown(make_instance, capsys):
    settings = make_instance()
    Places(settings.var).make()
    (settings.var / "valkey").mkdir()
    (settings.var / "valkey" / "appendonlydir").touch()  # where a directory must be
    with pytest.raises(LauncherError, match="valkey dies again and again"):
        up(settings, ["valkey"])
    assert "appendonlydir" in capsys.readouterr().out


def test_a_long_path_breaks_nothing(make_instance, tmp_path: Path):
    settings = make_instance(var=tmp_path / ("아주 긴 이름 " * 8).strip() / "var")
    up(settings, DATABASES)
    with connect(settings) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    sockets = Places(settings.var).sockets
    assert sockets.exists()
    down(settings)
    assert not sockets.exists()


def test_unknown_programs_are_refused(make_instance):
    with pytest.raises(LauncherError, match="no program postgress: there are postgres, valkey"):
        up(make_instance(), ["postgress"])
