import json
import re
from pathlib import Path

import pytest

from launcher import plan
from launcher.errors import LauncherError
from launcher.program import Program, Stage
from launcher.settings import LauncherSettings

PASSWORD = "a-password"


def programs(**settings: object) -> dict[str, Program]:
    made = plan.make(LauncherSettings(**settings), PASSWORD)
    return {program.name: program for program in made.programs}


def test_default_plan_has_every_part_in_the_order_of_its_stages(tmp_path):
    planned = programs(var=tmp_path)
    assert list(planned) == [
        "postgres", "valkey", "tokenizer", "generation", "gateway", "frontend",
    ]  # fmt: skip
    stages = [program.stage for program in planned.values()]
    assert stages == sorted(stages)
    assert stages[0] is Stage.DATABASES


def test_programs_find_each_other(tmp_path):
    planned = programs(var=tmp_path)
    gateway = planned["gateway"].environment
    tokenizer, generation = planned["tokenizer"].environment, planned["generation"].environment
    assert gateway["GATEWAY_TOKENIZER_ADDRESS"] == (
        f"127.0.0.1:{tokenizer['TOKENIZER_SERVER__PORT']}"
    )
    assert json.loads(gateway["GATEWAY_GENERATION_ADDRESSES"]) == [
        f"127.0.0.1:{generation['GENERATION_SERVER__PORT']}"
    ]
    assert planned["frontend"].environment["FRONTEND_GATEWAY_ADDRESS"] == "127.0.0.1:50050"
    assert json.loads(tokenizer["TOKENIZER_MODELS"]) == {
        generation["GENERATION_MODEL_NAME"]: generation["GENERATION_MODEL"]
    }
    assert PASSWORD in gateway["GATEWAY_REDIS_URL"]


def test_the_offset_moves_every_port(tmp_path):
    before, after = programs(var=tmp_path), programs(var=tmp_path, port_offset=1)
    for name, program in before.items():
        assert after[name].ports == tuple(port + 1 for port in program.ports)
        for variable, value in program.environment.items():
            if re.search(r"PORT|ADDRESS|REDIS", variable):
                assert after[name].environment[variable] != value


def test_no_two_programs_share_a_port(tmp_path):
    ports = [
        port for one in programs(var=tmp_path, model="a/x,b/y,c/z").values() for port in one.ports
    ]
    assert len(ports) == len(set(ports))


def test_each_model_has_a_generation_process_of_its_own(tmp_path):
    directory = tmp_path / "한글 model"
    directory.mkdir()
    planned = programs(var=tmp_path, model=f"Qwen/Qwen3-0.6B, {directory}")
    first, second = planned["generation"].environment, planned["generation-2"].environment
    assert (first["GENERATION_MODEL_NAME"], first["GENERATION_MODEL"]) == (
        "Qwen3-0.6B",
        "Qwen/Qwen3-0.6B",
    )
    assert second["GENERATION_MODEL_NAME"] == "한글 model"
    assert second["GENERATION_SERVER__PORT"] == "50062"
    assert first["GENERATION_STATE_DIR"] != second["GENERATION_STATE_DIR"]
    addresses = json.loads(planned["gateway"].environment["GATEWAY_GENERATION_ADDRESSES"])
    assert addresses == ["127.0.0.1:50052", "127.0.0.1:50062"]


@pytest.mark.parametrize("model", ["a/same,b/same", "./missing", "/missing"])
def test_models_that_cannot_be_served_are_refused(tmp_path: Path, model: str):
    with pytest.raises(LauncherError, match="DAMSO_MODEL"):
        programs(var=tmp_path, model=model)


def test_databases_given_by_url_are_not_started(tmp_path):
    planned = programs(
        var=tmp_path, database_url="postgresql://u:p@db/damso", redis_url="redis://:p@cache:6379/0"
    )
    assert not {"postgres", "valkey"} & set(planned)
    gateway = planned["gateway"].environment
    assert gateway["GATEWAY_DATABASE_URL"] == "postgresql+psycopg://u:p@db/damso"
    assert gateway["GATEWAY_REDIS_URL"] == "redis://:p@cache:6379/0"


def test_no_secret_is_in_a_command(tmp_path):
    planned = programs(var=tmp_path, database_url="postgresql://u:hidden@db/damso")
    words = " ".join(word for program in planned.values() for word in program.command)
    assert "hidden" not in words
    assert PASSWORD not in words
