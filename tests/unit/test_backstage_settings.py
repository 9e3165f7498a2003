"""Settings: what wins, and what a typo is answered with."""

import pickle
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from evident_core.errors import InvalidInput
from evident_core.settings import JobsSettings, Section, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(text: str) -> Path:
    Path("evident.toml").write_text(text)
    return Path("evident.toml")


def test_defaults_listen_on_loopback_and_need_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = load()
    assert settings.web.host == "127.0.0.1"
    assert settings.store.database_url == f"sqlite:///{tmp_path}/evident/evident.sqlite3"


def test_arguments_win_over_environment_over_file_over_default(monkeypatch):
    _file("[web]\nport = 1\nmax_upload_mib = 1\nlanguage = 'zh'\n")
    monkeypatch.setenv("EVIDENT_WEB__PORT", "2")
    monkeypatch.setenv("EVIDENT_WEB__MAX_UPLOAD_MIB", "2")
    web = load(web={"port": 3}).web
    assert (web.port, web.max_upload_mib, web.language, web.host) == (3, 2, "zh", "127.0.0.1")


def test_another_file_is_named_by_argument_or_environment(tmp_path, monkeypatch):
    other = tmp_path / "other.toml"
    other.write_text("[jobs]\nworkers = 7\n")
    assert load(other).jobs.workers == 7
    monkeypatch.setenv("EVIDENT_CONFIG", str(other))
    assert load().jobs.workers == 7
    monkeypatch.setenv("EVIDENT_CONFIG", "absent.toml")
    with pytest.raises(InvalidInput, match=r"absent\.toml does not exist"):
        load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[web]\nprot = 1", r"web\.prot is not a setting; did you mean web\.port\?"),
        ("[wbe]\nport = 1", r"wbe is not a setting; did you mean web\?"),
        ("[zzzzzz]\nport = 1", r"zzzzzz is not a setting; see deploy/evident\.example\.toml"),
        ("[web]\nport = 'x'", r"The setting web\.port is wrong: input should be a valid integer"),
        ("[web]\nport = 70000", r"web\.port is wrong: input should be less than or equal to 65535"),
        ("[web\n", r"evident\.toml is not valid TOML"),
    ],
)
def test_a_wrong_file_is_answered_with_the_key(text, message):
    _file(text)
    with pytest.raises(InvalidInput, match=message):
        load()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("EVIDENT_WEB__PROT", "1", "EVIDENT_WEB__PROT is not a setting; did you mean EVIDENT_WEB__PORT?"),
        ("EVIDENT_WBE__PORT", "1", "EVIDENT_WBE__PORT is not a setting; did you mean EVIDENT_WEB__PORT?"),
        ("EVIDENT_QQQQQQQQ", "1", "settings are named like EVIDENT_WEB__PORT."),
        ("EVIDENT_WEB", "{", "A setting in the environment cannot be read"),
        ("EVIDENT_WEB__PORT", "many", "The setting web.port is wrong"),
    ],
)
def test_a_wrong_variable_is_answered_with_its_name(monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput) as caught:
        load()
    assert message in caught.value.message


def test_secrets_are_never_shown():
    settings = load(
        web={"secret_key": "hush"}, store={"url": "postgresql://u:hush@host/db"}, jobs={"url": "redis://:hush@host/0"}
    )
    assert "hush" not in repr(settings) + str(settings) + settings.model_dump_json()
    with pytest.raises(InvalidInput) as caught:
        load(jobs={"url": ["hush"]})
    assert "hush" not in str(caught.value) + str(caught.value.details)


def test_settings_are_frozen_and_cross_to_other_processes(monkeypatch):
    settings = load(web={"port": 3}, jobs={"url": "redis://:hush@host/0"})
    monkeypatch.setenv("EVIDENT_WEB__PORT", "4")
    crossed = pickle.loads(pickle.dumps(settings))
    assert crossed.model_dump() == settings.model_dump()
    assert crossed.jobs.url == SecretStr("redis://:hush@host/0")
    with pytest.raises(ValueError, match="frozen"):
        settings.web = settings.web


def test_a_section_is_given_as_the_class_that_declared_it():
    settings = load(jobs={"workers": 5})
    assert settings.section("jobs", JobsSettings).workers == 5

    class Other(Section):
        pass

    with pytest.raises(TypeError, match="JobsSettings"):
        settings.section("jobs", Other)


def test_a_service_adds_a_section_of_its_own(monkeypatch):
    from evident_core import settings as module
    from evident_core.services import Vertical

    words = {"en": "", "zh": ""}
    vertical = Vertical("specimen", words, words, "", "", settings=f"{__name__}:SpecimenSettings")
    monkeypatch.setattr(module, "installed", lambda: {"specimen": vertical})
    monkeypatch.setattr(Vertical, "load", lambda self, reference: SpecimenSettings)
    module._tree.cache_clear()
    try:
        _file("[specimen]\ndepth = 4\n")
        assert load().section("specimen", SpecimenSettings).depth == 4
        _file("[specimen]\ndetph = 4\n")
        with pytest.raises(InvalidInput, match=r"specimen\.detph is not a setting; did you mean specimen\.depth\?"):
            load()
    finally:
        module._tree.cache_clear()


class SpecimenSettings(Section):
    depth: int = 1


def test_the_example_file_names_every_setting_with_its_default():
    example = tomllib.loads((ROOT / "deploy" / "evident.example.toml").read_text())
    settings = load(ROOT / "deploy" / "evident.example.toml")
    defaults = load()
    for name in ("web", "store", "jobs", "sandbox", "llm"):
        section = getattr(settings, name)
        assert set(example[name]) | {"secret_key", "data_dir"} >= set(type(section).model_fields), name
        assert section.model_dump(exclude={"data_dir"}) == getattr(defaults, name).model_dump(exclude={"data_dir"}), (
            name
        )
