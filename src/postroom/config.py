"""The settings of an installation, read from the environment once, at the doors. This is the one list of them:
names, defaults, `postroom check` and docs/operations.md come from here.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from postroom.errors import InvalidInput


class Settings(BaseSettings):
    """Each field is an environment variable with the prefix POSTROOM_."""

    model_config = SettingsConfigDict(env_prefix="POSTROOM_", extra="ignore")

    database_url: Annotated[SecretStr | None, Field(
        description="PostgreSQL 15 or newer, postgresql://user:password@host:5432/database. "
                    "Without it Postroom runs a PostgreSQL of its own under POSTROOM_HOME.")] = None
    unsafe_database: Annotated[bool, Field(
        description="Accepts a database that may forget what it committed (fsync or full_page_writes off). For tests only.")] = False
    home: Annotated[Path, Field(
        description="Where the embedded database, its password and the generated secret key are kept.")] = Path(".postroom")
    secret_key: Annotated[SecretStr | None, Field(
        description="Seals gateway passwords and signs sessions. Without it one is generated under POSTROOM_HOME. "
                    "Every machine of an installation needs the same.")] = None
    base_url: Annotated[str | None, Field(
        description="The address under which people reach the pages; by default http://HOST:PORT of `serve`.")] = None
    host: Annotated[str, Field(description="Where `serve` listens.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="The port of `serve`.")] = 8025
    workers: Annotated[int, Field(ge=0, le=64, description="Worker processes that `serve` starts.")] = 1
    concurrency: Annotated[int, Field(ge=1, le=100, description="SMTP sessions of one worker process, at most.")] = 20
    helo_name: Annotated[str, Field(description="The name that workers give themselves at EHLO.")] = Field(
        default_factory=lambda: socket.gethostname() or "localhost")
    allow_plaintext: Annotated[bool, Field(
        description="Lets gateways beyond this machine be used without TLS. Passwords are never sent that way.")] = False
    lease_s: Annotated[float, Field(
        ge=1, description="Seconds after which a worker that is no longer heard of loses its chunk.")] = 30.0
    retry_base_s: Annotated[float, Field(
        gt=0, description="Seconds of the first backoff after a temporary refusal; it doubles with each.")] = 5.0
    gateway_give_up_s: Annotated[float, Field(
        gt=0, description="Seconds after which a job whose gateway cannot be used becomes failed, its unsent intact.")] = 86_400.0
    upload_max_mb: Annotated[int, Field(
        ge=1, description="The largest request that creates a job, in MiB; it is spooled to disk, not held in memory.")] = 1_024


def read_settings() -> Settings:
    """Raises InvalidInput that names the variable and what is wrong with it."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "POSTROOM_" + "_".join(str(part) for part in first["loc"]).upper()
        raise InvalidInput(f"{name} is not valid: {first['msg']}.", field=name) from None
