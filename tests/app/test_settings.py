import argparse
from dataclasses import fields
from pathlib import Path

import pytest

from syncserver.app import settings
from syncserver.app.settings import Settings
from syncserver.core.errors import SetupError

NAMES = [f.name for f in fields(Settings)]


def parsed(*arguments: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    return vars(parser.parse_args(arguments))


def test_without_anything_the_defaults_hold():
    assert settings.read(parsed(), {}) == Settings()


def test_flags_go_before_the_environment_and_that_before_defaults():
    environment = {"SYNCSERVER_PORT": "9000", "SYNCSERVER_HOST": "0.0.0.0", "PORT": "1"}  # noqa: S104 - an example
    found = settings.read(parsed("--port", "9001"), environment)
    assert (found.port, found.host, found.sweep_s) == (9001, "0.0.0.0", Settings().sweep_s)  # noqa: S104


def test_nought_is_a_value():
    assert settings.read(parsed("--frames-per-s", "0"), {"SYNCSERVER_ROWS_PER_OWNER": "0"}) == Settings(
        frames_per_s=0, rows_per_owner=0
    )


def test_an_empty_variable_is_none():
    assert settings.read(parsed(), {"SYNCSERVER_PORT": ""}) == Settings()


def test_values_get_their_types():
    found = settings.read(
        parsed("--data-dir", "/srv/sync", "--postgres-bin", "/opt/pg/bin", "--heartbeat-s", "2.5"),
        {"SYNCSERVER_DATABASE_CONNECTIONS": "3"},
    )
    assert (found.data_dir, found.postgres_bin) == (Path("/srv/sync"), Path("/opt/pg/bin"))
    assert (found.heartbeat_s, found.database_connections) == (2.5, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "http"),
        ("port", "-1"),
        ("port", "65536"),
        ("port", "80.5"),
        ("database_connections", "0"),
        ("database_connections", "many"),
        ("heartbeat_s", "0"),
        ("heartbeat_s", "nan"),
        ("heartbeat_s", "inf"),
        ("sweep_s", "-3"),
        ("sweep_s", "soon"),
        ("drain_s", "1s"),
        ("frame_bytes", "100"),
        ("frame_bytes", "0"),
        ("json_depth", "0"),
        ("json_depth", "501"),
        ("frames_per_s", "-1"),
        ("rows_per_owner", "1e6"),
        ("origins", "books.example"),
    ],
)
def test_a_value_that_is_none_names_its_setting_and_says_what_it_is(name: str, value: str):
    variable, flag = f"SYNCSERVER_{name.upper()}", "--" + name.replace("_", "-")
    for flags, environment in ((parsed(f"{flag}={value}"), {}), (parsed(), {variable: value})):
        with pytest.raises(SetupError) as refused:
            settings.read(flags, environment)
        assert variable in refused.value.detail
        assert flag in refused.value.detail
        assert refused.value.advice.startswith("It is ")


def test_every_setting_has_a_flag_a_variable_a_default_and_a_sentence():
    parser = argparse.ArgumentParser(
        prog="x", formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=60, width=400)
    )
    settings.add_flags(parser)
    text = parser.format_help()
    for f in fields(Settings):
        line = next(line for line in text.splitlines() if f"--{f.name.replace('_', '-')} " in line and "[SYNC" in line)
        assert len(f.metadata["sentence"].split()) >= 4, f.name
        assert f.metadata["sentence"] in line
        assert f"[SYNCSERVER_{f.name.upper()}, default " in line


def test_a_command_has_only_the_flags_it_names():
    parser = argparse.ArgumentParser()
    settings.add_flags(parser, "data_dir")
    assert set(vars(parser.parse_args([]))) == {"data_dir"}


@pytest.mark.parametrize(
    ("user", "platform", "environment", "folder"),
    [
        (0, "linux", {}, "/var/lib/syncserver"),
        (1000, "linux", {"HOME": "/home/ada"}, "/home/ada/.local/share/syncserver"),
        (1000, "linux", {"HOME": "/home/ada", "XDG_DATA_HOME": "/data"}, "/data/syncserver"),
        (1000, "darwin", {"HOME": "/Users/ada"}, "/Users/ada/Library/Application Support/syncserver"),
    ],
)
def test_data_stays_where_this_kind_of_system_keeps_it(
    monkeypatch: pytest.MonkeyPatch, user: int, platform: str, environment: dict[str, str], folder: str
):
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert settings.default_data_dir() == Path(folder)
