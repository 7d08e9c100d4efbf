"""What runs: from the settings to programs, ports and environment variables.

Starts and writes nothing, and reads no environment. The one place that knows the names of the
services' variables.
"""

import json
import sys
from dataclasses import dataclass

from launcher import models, postgres, valkey
from launcher.checks import GenerationCheck, GrpcCheck, PageCheck, PostgresCheck, ValkeyCheck
from launcher.models import Model
from launcher.places import Places
from launcher.program import Program, Stage
from launcher.settings import REPOSITORY, LauncherSettings

GATEWAY_PORT = 50050
TOKENIZER_PORT = 50051
GENERATION_PORT = 50052
GENERATION_PORT_STEP = 10
TELEMETRY_PORT_STEP = 1000
FRONTEND_PORT = 8501
VALKEY_PORT = 6379


@dataclass(frozen=True)
class Plan:
    """All of one instance.

    Attributes:
        programs: In the order they start.
        models: The base models they serve.
        page: URL of the pages.
        gateway: gRPC address, `host:port`.
    """

    programs: tuple[Program, ...]
    models: tuple[Model, ...]
    page: str
    gateway: str


def make(settings: LauncherSettings, valkey_password: str) -> Plan:
    """Plans an instance.

    Args:
        settings: What is asked for.
        valkey_password: Password of the embedded Valkey.

    Raises:
        LauncherError: `settings.model` cannot be read.
    """
    places, offset = Places(settings.var), settings.port_offset
    served = models.parse(settings.model, places.models / models.DEFAULT_NAME)
    generations = [_generation(model, index, places, offset) for index, model in enumerate(served)]
    programs: list[Program] = []
    if settings.database_url is None:
        programs.append(_postgres(places))
    if settings.redis_url is None:
        programs.append(_valkey(places, VALKEY_PORT + offset, valkey_password))
    programs += [
        _tokenizer(served, offset),
        *generations,
        _gateway(settings, valkey_password, len(served)),
        _frontend(offset),
    ]
    return Plan(
        programs=tuple(programs),
        models=served,
        page=f"http://127.0.0.1:{FRONTEND_PORT + offset}",
        gateway=_address(GATEWAY_PORT + offset),
    )


def _postgres(places: Places) -> Program:
    return Program(
        name="postgres",
        stage=Stage.DATABASES,
        command=postgres.command(places),
        check=PostgresCheck(postgres.binary("pg_isready"), places.postgres_socket),
        user=postgres.system_user(),
        stop_signal=postgres.STOP_SIGNAL,
    )


def _valkey(places: Places, port: int, password: str) -> Program:
    return Program(
        name="valkey",
        stage=Stage.DATABASES,
        command=valkey.command(places, port),
        check=ValkeyCheck(port, password),
        ports=(port,),
    )


def _tokenizer(served: tuple[Model, ...], offset: int) -> Program:
    port = TOKENIZER_PORT + offset
    return Program(
        name="tokenizer",
        stage=Stage.SERVICES,
        command=_module("services.tokenizer.server"),
        check=GrpcCheck(port),
        environment={
            "TOKENIZER_SERVER__PORT": str(port),
            "TOKENIZER_MODELS": _json({model.name: model.source for model in served}),
        },
        ports=(port, port + TELEMETRY_PORT_STEP),
    )


def _generation(model: Model, index: int, places: Places, offset: int) -> Program:
    port = _generation_port(index, offset)
    return Program(
        name="generation" if index == 0 else f"generation-{index + 1}",
        stage=Stage.SERVICES,
        command=_module("services.generation.server"),
        check=GenerationCheck(port),
        environment={
            "GENERATION_SERVER__PORT": str(port),
            "GENERATION_MODEL": model.source,
            "GENERATION_MODEL_NAME": model.name,
            "GENERATION_STATE_DIR": str(places.var / "generation" / model.name),
            "GENERATION_ADAPTER_ROOT": str(places.adapters),
        },
        ports=(port, port + TELEMETRY_PORT_STEP),
    )


def _gateway(settings: LauncherSettings, valkey_password: str, model_count: int) -> Program:
    offset = settings.port_offset
    port = GATEWAY_PORT + offset
    generations = [_address(_generation_port(index, offset)) for index in range(model_count)]
    return Program(
        name="gateway",
        stage=Stage.GATEWAY,
        command=_module("services.gateway.server"),
        check=GrpcCheck(port),
        environment={
            "GATEWAY_SERVER__PORT": str(port),
            "GATEWAY_DATABASE_URL": _database_url(settings),
            "GATEWAY_REDIS_URL": _redis_url(settings, valkey_password),
            "GATEWAY_TOKENIZER_ADDRESS": _address(TOKENIZER_PORT + offset),
            "GATEWAY_GENERATION_ADDRESSES": _json(generations),
        },
        ports=(port, port + TELEMETRY_PORT_STEP),
    )


def _frontend(offset: int) -> Program:
    port = FRONTEND_PORT + offset
    return Program(
        name="frontend",
        stage=Stage.FRONTEND,
        command=(
            *_module("streamlit"),
            *("run", str(REPOSITORY / "frontend" / "server.py")),
            *("--server.address", "127.0.0.1", "--server.port", str(port)),
            *("--server.headless", "true"),
        ),
        check=PageCheck(port),
        environment={"FRONTEND_GATEWAY_ADDRESS": _address(GATEWAY_PORT + offset)},
        ports=(port,),
    )


def _database_url(settings: LauncherSettings) -> str:
    if settings.database_url is None:
        return postgres.url(Places(settings.var))
    scheme, separator, rest = settings.database_url.get_secret_value().partition("://")
    # Hosting providers hand out plain URLs; SQLAlchemy wants the driver's name in it.
    driver = "postgresql+psycopg" if scheme in ("postgres", "postgresql") else scheme
    return driver + separator + rest


def _redis_url(settings: LauncherSettings, valkey_password: str) -> str:
    if settings.redis_url is None:
        return valkey.url(VALKEY_PORT + settings.port_offset, valkey_password)
    return settings.redis_url.get_secret_value()


def _generation_port(index: int, offset: int) -> int:
    return GENERATION_PORT + index * GENERATION_PORT_STEP + offset


def _address(port: int) -> str:
    return f"127.0.0.1:{port}"


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
