import json
import stat
import sys
from pathlib import Path

from supervisor.options import UnhosedConfigParser

from launcher import supervisor_config
from launcher.checks import PageCheck
from launcher.places import Places
from launcher.program import Program, Stage


def program(**changes: object) -> Program:
    values = {
        "name": "one",
        "stage": Stage.SERVICES,
        "command": (sys.executable, "-c", "pass"),
        "check": PageCheck(1),
    }
    return Program(**{**values, **changes})


def written(places: Places, one: Program) -> dict[str, str]:
    places.make()
    supervisor_config.write(places, [one])
    parser = UnhosedConfigParser()
    parser.read([supervisor_config.path(places)])
    return dict(parser["program:one"])


def test_values_of_any_kind_reach_the_program(tmp_path: Path):
    places = Places(tmp_path / "100% 담소")
    value = """{"quoted": "50%, 'it''s' ; # \\n"}"""
    written(places, program(environment={"ANY": value}))
    specifications = json.loads((places.run / "programs.json").read_text(encoding="utf-8"))
    assert specifications["one"]["environment"]["ANY"] == value


def test_secrets_are_only_in_files_that_nobody_else_can_read(tmp_path: Path):
    places = Places(tmp_path)
    written(places, program(environment={"SECRET": "hidden"}))
    holders = [path for path in places.run.iterdir() if path.is_file()]
    assert any("hidden" in path.read_text(encoding="utf-8") for path in holders)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in holders)


def test_a_changed_variable_changes_the_section(tmp_path: Path):
    before = written(Places(tmp_path), program(environment={"ANY": "1"}))
    same = written(Places(tmp_path), program(environment={"ANY": "1"}))
    after = written(Places(tmp_path), program(environment={"ANY": "2"}))
    assert before == same != after


def test_a_long_path_moves_the_sockets_and_nothing_else(tmp_path: Path):
    places = Places(tmp_path / ("long" * 30))
    assert len(str(places.sockets)) < 60
    assert places.run.is_relative_to(tmp_path)
    assert places.sockets != Places(tmp_path / ("long" * 31)).sockets
