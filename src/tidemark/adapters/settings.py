"""What programs read from their environment, once, into frozen values. A missing or unknown value fails at start by name."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tidemark.errors import UnavailableError, bad_input
from tidemark.instruments import Instrument

STAGES = ("local", "dev", "staging", "prod")
SOURCE = "environment"


def required(name: str, env: Mapping[str, str] | None = None) -> str:
    """The variable's value. Raises InputError when it is missing, empty or padded with blanks."""
    value = (os.environ if env is None else env).get(name, "")
    if not value or value != value.strip():
        raise bad_input(SOURCE, name, value, "a value without surrounding blanks", "set by the stage's template")
    return value


def required_int(name: str, env: Mapping[str, str] | None = None, *, minimum: int = 1, maximum: int = 10**9) -> int:
    """The variable as an integer in [minimum, maximum]."""
    text = required(name, env)
    if not text.lstrip("-").isdigit() or not minimum <= int(text) <= maximum:
        raise bad_input(SOURCE, name, text, f"an integer from {minimum} to {maximum}")
    return int(text)


def stage_name(env: Mapping[str, str] | None = None) -> str:
    """TIDEMARK_STAGE, one of STAGES."""
    stage = required("TIDEMARK_STAGE", env)
    if stage not in STAGES:
        raise bad_input(SOURCE, "TIDEMARK_STAGE", stage, f"one of {', '.join(STAGES)}")
    return stage


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Where Redis is."""

    host: str
    port: int
    tls: bool
    auth_token: str | None


@cache
def client(service: str) -> Any:
    """One boto3 client per service and process: short time-outs, few retries, so that a dead dependency shows in time."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 3, "mode": "standard"}, max_pool_connections=8)
    return boto3.client(service, config=config)


def secret(arn: str) -> dict[str, Any]:
    """A JSON secret. Raises UnavailableError when Secrets Manager cannot be asked; never puts the content in a message."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        text = client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    except (BotoCoreError, ClientError) as error:
        raise UnavailableError(f"secrets manager: {arn}: {type(error).__name__}") from error
    try:
        value: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        raise bad_input("secrets manager", arn, "<redacted>", "a JSON object") from None
    return value


def database_conninfo(env: Mapping[str, str] | None = None) -> str:
    """libpq connection string from DATABASE_SECRET_ARN; TLS is required unless the host is a unix-socket folder."""
    from psycopg.conninfo import make_conninfo

    value = secret(required("DATABASE_SECRET_ARN", env))
    local_socket = str(value["host"]).startswith("/")
    return make_conninfo(
        host=value["host"],
        port=value["port"],
        user=value["username"],
        password=value["password"],
        dbname=value["dbname"],
        sslmode="disable" if local_socket else "verify-full",
        connect_timeout=5,
        application_name="tidemark",
    )


def cache_settings(env: Mapping[str, str] | None = None) -> CacheSettings:
    """Redis endpoint from CACHE_ENDPOINT (host:port), CACHE_TLS (on|off) and, if set, CACHE_SECRET_ARN."""
    environment = os.environ if env is None else env
    endpoint = required("CACHE_ENDPOINT", env)
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit():
        raise bad_input(SOURCE, "CACHE_ENDPOINT", endpoint, "host:port")
    tls = required("CACHE_TLS", env)
    if tls not in ("on", "off"):
        raise bad_input(SOURCE, "CACHE_TLS", tls, "on or off")
    arn = environment.get("CACHE_SECRET_ARN", "")
    token = str(secret(arn)["auth_token"]) if arn else None
    return CacheSettings(host, int(port), tls == "on", token)


def instruments_from_parameter(env: Mapping[str, str] | None = None) -> dict[str, Instrument]:
    """Instruments that the stage trades, from the SSM parameter named by INSTRUMENTS_PARAMETER (a JSON list)."""
    from botocore.exceptions import BotoCoreError, ClientError

    name = required("INSTRUMENTS_PARAMETER", env)
    try:
        text = client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    except (BotoCoreError, ClientError) as error:
        raise UnavailableError(f"parameter store: {name}: {type(error).__name__}") from error
    return parse_instruments(text, source=name)


def parse_instruments(text: str, *, source: str) -> dict[str, Instrument]:
    """{symbol: Instrument} from a JSON list of manifest entries."""
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise bad_input(source, "instruments", text, "a JSON list", str(error)) from None
    found = [Instrument.from_manifest(entry, source=source) for entry in entries]
    if not found or len({spec.symbol for spec in found}) != len(found):
        raise bad_input(source, "instruments", [spec.symbol for spec in found], "at least one instrument, each symbol once")
    return {spec.symbol: spec for spec in found}
