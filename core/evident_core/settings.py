"""All settings, in one frozen tree: arguments > ``EVIDENT_…`` > ``evident.toml`` > default.

``EVIDENT_WEB__PORT=9000`` sets ``port`` of section ``[web]``; ``EVIDENT_CONFIG`` names another file than
``./evident.toml``. A key that does not exist is an error which names the nearest one that does. Passwords and keys are
never shown.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from evident_core.errors import InvalidInput
from evident_core.services import installed

PREFIX = "EVIDENT_"
CONFIG = "EVIDENT_CONFIG"
MIB = 1 << 20


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "evident"


class Section(BaseModel):
    """A section of the file. A service's own section derives from this."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class WebSettings(Section):
    """Where the pages are served, and what they accept."""

    host: str = Field("127.0.0.1", description="Address to listen on; any other than loopback needs an API key.")
    port: int = Field(8000, ge=0, le=65535)
    max_upload_mib: int = Field(100, ge=1, description="Largest request body.")
    language: Literal["en", "zh"] = Field("en", description="Language of pages where the visitor states none.")
    trusted_proxies: int = Field(0, ge=0, description="How many reverse proxies stand in front and set X-Forwarded-*.")
    secret_key: SecretStr | None = Field(
        None, description="Signs form tokens; by default made once, in the data folder."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class StoreSettings(Section):
    """Where uploads, results and the audit log are kept."""

    data_dir: Path = Field(
        default_factory=_default_data_dir, description="Folder of uploads and, by default, databases."
    )
    url: SecretStr = Field(SecretStr(""), description="SQLAlchemy URL; empty: SQLite in the data folder.")

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in use, with its password: not for showing."""
        return self.url.get_secret_value() or f"sqlite:///{self.data_dir.expanduser().absolute() / 'evident.sqlite3'}"


class JobsSettings(Section):
    """The queue of work."""

    url: SecretStr = Field(SecretStr(""), description="redis://…, or empty: an SQLite queue in the data folder.")
    workers: int = Field(2, ge=1, le=64, description="Files read at the same time by one worker process.")
    embedded: bool = Field(True, description="Whether `evident serve` starts and watches over a worker process.")
    max_queued: int = Field(200, ge=1, description="Waiting jobs above which new ones are refused.")
    max_queued_per_owner: int = Field(50, ge=1, description="One caller's share of them.")
    lease_seconds: float = Field(20.0, gt=0, description="A running job silent for this long counts as lost.")
    max_attempts: int = Field(
        2, ge=1, le=5, description="How often a job is begun before a lost one is reported failed."
    )


class SandboxSettings(Section):
    """What one file may cost to read, in the process that reads it."""

    memory_mib: int = Field(1024, ge=64, description="Memory above what the process has before it opens the file.")
    cpu_seconds: int = Field(120, ge=1)
    wall_seconds: float = Field(300.0, gt=0)


class LlmSettings(Section):
    """The language model that writes: our engine in this process, or a server (vLLM, SGLang, Ray Serve, DeepSeek)."""

    url: str = Field("", description="Empty: our engine in this process; else where an OpenAI-compatible API is.")
    api_key: SecretStr = Field(SecretStr(""), description="The key that the server at url asks for.")
    remote_model: str = Field("", description="What the model is called there; empty: the only one it lists.")
    dialect: Literal["auto", "openai", "vllm", "sglang", "deepseek", "evident"] = Field(
        "auto", description="Which kind of server it is; Ray Serve is vllm. auto goes by what it says of itself."
    )
    allow_plain_http: bool = Field(False, description="Whether the key may go unencrypted to another machine.")
    connect_seconds: float = Field(10.0, gt=0)
    read_seconds: float = Field(120.0, gt=0, description="Until the next piece of an answer comes.")
    total_seconds: float = Field(600.0, gt=0, description="One request's whole time, retries included.")
    retries: int = Field(3, ge=0, le=20, description="Further tries after 429, 5xx or a lost connection.")
    retry_after_seconds: float = Field(30.0, ge=0, description="Longest wait that the server may ask for.")
    max_concurrent: int = Field(16, ge=1, le=1024, description="Requests to the server at the same time.")
    model: str = Field("", description="Folder of a checkpoint for our engine; empty: the suite's own small model.")
    quantization: Literal["", "int8", "int4"] = Field("", description="Of its weights, once they are loaded.")
    device: str = Field("cpu", description="Where it computes: cpu, cuda or cuda:1.")
    threads: int = Field(0, ge=0, le=1024, description="Threads of its CPU kernel; 0: one a core.")
    cache_mib: int = Field(256, ge=1, description="Memory of its key-value cache.")
    max_batch: int = Field(16, ge=1, le=1024, description="Texts that are written at the same time.")
    max_queued: int = Field(64, ge=0, description="Texts that may wait; `evident serve-llm` answers 429 beyond.")
    max_tokens: int = Field(1024, ge=1, description="Length of a chat answer of `evident serve-llm` that names none.")


SectionT = TypeVar("SectionT", bound=Section)


class Settings(BaseSettings):
    """The tree of settings; made by :func:`load`. Installed services add a section of their own name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        toml_file="evident.toml",
    )

    web: WebSettings = Field(default_factory=WebSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    jobs: JobsSettings = Field(default_factory=JobsSettings)
    sandbox: SandboxSettings = Field(default_factory=SandboxSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)

    def section(self, name: str, kind: type[SectionT]) -> SectionT:
        """The section that a service declared under ``name``, as the class it declared."""
        section = getattr(self, name)
        if not isinstance(section, kind):
            raise TypeError(f"section {name} is a {type(section).__name__}, not a {kind.__name__}")
        return section

    def __reduce__(self) -> tuple[Any, ...]:
        """Settings cross to worker processes as their values: the class is made anew there."""
        return (_restore, (self.model_dump(),))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        file = settings_cls.model_config.get("toml_file")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, cast(Path, file))


def load(config: Path | None = None, **arguments: Mapping[str, Any]) -> Settings:
    """Read all settings.

    Args:
        config: The file; by default the one ``EVIDENT_CONFIG`` names, else ``./evident.toml`` where there is one.
        **arguments: Sections that win over file and environment: ``load(web={"port": 9000})``.

    Raises:
        InvalidInput: A key does not exist, a value is not one it can have, or the file cannot be read.
    """
    named = config or (Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None)
    if named is not None and not named.is_file():
        what = "is not a file; name one" if named.exists() else "does not exist; create it"
        raise InvalidInput(f"The settings file {named} {what} or unset {CONFIG}.", path=str(named))
    file = named or Path("evident.toml")
    kind = _tree(str(file.absolute()))
    _refuse_unknown_variables(kind)
    try:
        return kind(**cast(Any, arguments))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{file} is not valid TOML: {error}.", path=str(file)) from None
    except SettingsError as error:
        raise InvalidInput(f"A setting in the environment cannot be read: {error}.") from None
    except ValidationError as error:
        raise _explain(error, kind) from None


@cache
def _tree(file: str) -> type[Settings]:
    sections: dict[str, Any] = {}
    for name, vertical in installed().items():
        if vertical.settings:
            section = vertical.load(vertical.settings)
            sections[name] = (section, Field(default_factory=section))
    base = type(
        "Settings", (Settings,), {"model_config": {**Settings.model_config, "toml_file": file}, "__module__": __name__}
    )
    return create_model("Settings", __base__=base, **sections)


def _restore(values: dict[str, Any]) -> Settings:
    # Every value is given, so neither file nor environment of the new process has a say.
    return _tree("")(**values)


def _names(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{prefix}{name}.")


def _refuse_unknown_variables(kind: type[Settings]) -> None:
    known = {PREFIX + name.upper().replace(".", "__") for name in _names(kind)} | {CONFIG}
    for variable in os.environ:
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            near = difflib.get_close_matches(variable.upper(), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"settings are named like {PREFIX}WEB__PORT."
            raise InvalidInput(f"The environment variable {variable} is not a setting; {hint}", key=variable)


def _explain(error: ValidationError, kind: type[Settings]) -> InvalidInput:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(_names(kind)), 1)
        hint = f"did you mean {near[0]}?" if near else "see deploy/evident.example.toml for all there are."
        return InvalidInput(f"{key} is not a setting; {hint}", key=key)
    return InvalidInput(f"The setting {key} is wrong: {first['msg'][0].lower()}{first['msg'][1:]}.", key=key)
