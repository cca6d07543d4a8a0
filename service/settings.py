"""Settings of the service, read from variables ``TRIAGE_*``; a bad value is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "TRIAGE_"
SHOWN_CHARACTERS = 40
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lambda v: str(v).strip().lower())]


class SettingsError(ValueError):
    """Settings that cannot be used; the message has one line a variable: its name, its value and the remedy."""


class Settings(BaseSettings):
    """Each field is one variable, ``port`` being ``TRIAGE_PORT``; its description is the remedy for a bad value."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    host: str = Field(
        default="127.0.0.1", min_length=1, description="监听地址，如 127.0.0.1（仅本机）或 0.0.0.0（所有网卡）"
    )
    port: int = Field(default=8000, ge=1, le=65535, description="1 到 65535 之间的整数，如 8000")
    workers: int = Field(default=1, ge=1, le=64, description="工作进程数，1 到 64 之间的整数；每个进程各载入一份模型")
    model: Path | None = Field(default=None, description="模型目录的路径；不设则用自带模型")
    taxonomy: Path | None = Field(default=None, description="分类文件（YAML）的路径；不设则用自带分类")
    max_body_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="请求体的最大字节数，1024 到 67108864 之间的整数",
    )
    body_timeout: float = Field(default=30, gt=0, le=600, description="收完一个请求体的最长秒数，大于 0、不超过 600")
    batch_limit: int = Field(default=1000, ge=1, le=1000, description="一批最多的件数，1 到 1000 之间的整数")
    queue_limit: int = Field(default=64, ge=1, le=10_000, description="同时等候的单件请求数，1 到 10000 之间的整数")
    batch_queue_limit: int = Field(default=8, ge=1, le=1000, description="同时等候的批量请求数，1 到 1000 之间的整数")
    shutdown_timeout: int = Field(
        default=10, ge=1, le=600, description="停止前等候在办请求的最长秒数，1 到 600 之间的整数"
    )
    log_level: LogLevel = Field(default="info", description="debug、info、warning、error 之一")

    def as_environment(self) -> dict[str, str]:
        """Return the variables that make another process read these same settings."""
        return {variable(name): "" if value is None else str(value) for name, value in self}


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in the environment, ``overrides`` going before. Raises SettingsError naming every bad one."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None


def variable(field: str) -> str:
    """Return the name of the environment variable behind a field of Settings."""
    return PREFIX + field.upper()


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for mistake in error.errors(include_url=False):
        field = str(mistake["loc"][0])
        value = str(mistake["input"])
        shown = value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…"
        remedy = Settings.model_fields[field].description
        lines.append(f"{variable(field)}={shown}：取值不可用；请改为：{remedy}")
    return lines
