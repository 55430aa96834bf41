"""The settings file: what is read, what is refused, what is never shown."""

from __future__ import annotations

import configparser
import dataclasses
import errno
import os
import subprocess
import sys
import traceback
from decimal import Decimal
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import settings
from settings import (
    Bme280,
    Co2,
    Cpu,
    Database,
    Graph,
    GraphSettings,
    RouteB,
    Settings,
    SettingsError,
    Storage,
    Tariff,
    Tier,
)

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "power_consumption.ini-sample"
ROUTE_B_ID = "00112233445566778899AABBCCDDEEFF"
PASSWORD = "0123456789AB"
URL = "postgresql://meter:Open#Sesame;1%@db.example/power"
METER = f"[routeB]\nid = {ROUTE_B_ID}\npassword = {PASSWORD}\n"

# The contract, as users know it; [tariff] is documented in the sample file alone.
CONTRACT = {
    "routeB": {"device", "id", "id_file", "password", "password_file", "interval", "timeout", "history_pause"},
    "database": {"url"},
    "storage": {"data_dir", "site"},
    "cpu": {"zone"},
    "co2": {"device", "warm_up"},
    "bme280": {"bus", "address"},
    "graph": {"language", "output_dir", "timezone", "contract_a"},
    "tariff": {
        "base_yen",
        "tiers",
        "time_of_use",
        "export_yen",
        "fuel_adjustment_yen",
        "renewable_levy_yen",
        "billing_day",
    },
}


def write(directory: Path, content: str | bytes, *, mode: int = 0o600) -> Path:
    path = directory / "power_consumption.ini"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def load(directory: Path, content: str | bytes) -> Settings:
    return settings.load(write(directory, content))


def refusals(directory: Path, content: str | bytes) -> list[str]:
    """Return the lines that refuse *content*, without the path before each."""
    with pytest.raises(SettingsError) as caught:
        load(directory, content)
    prefix = f"{directory / 'power_consumption.ini'}: "
    lines = str(caught.value).split("\n")
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def refusal(directory: Path, content: str | bytes) -> str:
    """Return the one line that refuses *content*, without the path before it."""
    [line] = refusals(directory, content)
    return line


# What is read


def test_only_the_credentials_are_needed_and_the_rest_has_defaults(tmp_path: Path) -> None:
    read = load(tmp_path, METER)
    assert read.route_b == RouteB("/dev/ttyUSB0", ROUTE_B_ID, PASSWORD, 60, 20.0, 10.0)
    assert read.database == Database(url=None)
    assert read.storage.site == "home"
    assert read.cpu == Cpu(zone="")
    assert read.co2 == Co2("/dev/serial0", 180.0)
    assert read.bme280 == Bme280(1, 0x76)
    assert read.graph == Graph(None, Path(), ZoneInfo("Asia/Tokyo"), None)
    assert read.tariff is None


def test_every_value_arrives_converted(tmp_path: Path) -> None:
    read = load(
        tmp_path,
        f"""
        [routeB]
device = /dev/serial/by-id/usb-ROHM_BP35C2
id = {ROUTE_B_ID.lower()}
password = {PASSWORD}
interval = 10
timeout = 2.5
history_pause = 0
[database]
url = {URL}
[storage]
data_dir = {tmp_path}/data
site = 二階
[cpu]
zone = INT3400 Thermal
[co2]
device = /dev/ttyAMA0
warm_up = 60
[bme280]
bus = 3
address = 0x77
[graph]
language = ja
output_dir = pictures
timezone = Europe/Paris
contract_a = 40
""",
    )
    assert read == Settings(
        database=Database(URL),
        storage=Storage(tmp_path / "data", "二階"),
        graph=Graph("ja", Path("pictures"), ZoneInfo("Europe/Paris"), Decimal(40)),
        tariff=None,
        route_b=RouteB("/dev/serial/by-id/usb-ROHM_BP35C2", ROUTE_B_ID, PASSWORD, 10, 2.5, 0.0),
        cpu=Cpu("INT3400 Thermal"),
        co2=Co2("/dev/ttyAMA0", 60.0),
        bme280=Bme280(3, 0x77),
    )


def test_an_empty_value_is_the_default(tmp_path: Path) -> None:
    empty = "".join(
        f"[{section}]\n" + "".join(f"{key} =\n" for key in sorted(keys - {"id", "password"}))
        for section, keys in CONTRACT.items()
    )
    with_credentials = empty.replace("[routeB]\n", METER)
    assert load(tmp_path, with_credentials) == load(tmp_path, METER)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_file_written_on_windows_reads_the_same(tmp_path: Path, ending: str) -> None:
    content = "\ufeff" + METER.replace("\n", ending)
    assert load(tmp_path, content).route_b.password == PASSWORD


@pytest.mark.parametrize("password", ["#abc", ";abc", "a#b;c", "100%", "%(x)s", "a=b:c", "'quoted'", "!", "~" * 32])
def test_a_password_may_hold_any_printable_ascii_character(tmp_path: Path, password: str) -> None:
    assert load(tmp_path, f"[routeB]\nid = {ROUTE_B_ID}\npassword = {password}\n").route_b.password == password


@given(password=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=32))
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_allowed_password_comes_back_as_written(tmp_path: Path, password: str) -> None:
    assert load(tmp_path, f"[routeB]\nid={ROUTE_B_ID}\npassword={password}").route_b.password == password


def test_comments_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    assert load(tmp_path, f"; one\n# two\n{METER}# three\n  ; four\ninterval = 30\n").route_b.interval_s == 30


def test_the_default_data_directory_is_the_xdg_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert load(tmp_path, METER).storage.data_dir == tmp_path / "xdg" / "power-consumption"


def test_a_user_without_a_home_directory_is_told_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_user: int) -> NoReturn:
        raise KeyError  # as in a container that runs as a number which /etc/passwd lacks

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(
        SettingsError, match=r"\[storage\] data_dir: expected a directory, .* home directory is unknown"
    ):
        load(tmp_path, METER)
    assert load(tmp_path, f"{METER}[storage]\ndata_dir = {tmp_path}\n").storage.data_dir == tmp_path


def test_a_relative_xdg_directory_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "xdg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(tmp_path, METER).storage.data_dir == tmp_path / ".local/share/power-consumption"


def test_a_relative_data_directory_does_not_move_with_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, METER + "[storage]\ndata_dir = data\n")
    monkeypatch.chdir(tmp_path)
    assert settings.load().storage.data_dir == tmp_path / "data"


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    read = load(tmp_path, METER + "[storage]\ndata_dir = ~/a\n[graph]\noutput_dir = ~/b\n")
    assert (read.storage.data_dir, read.graph.output_dir) == (tmp_path / "a", tmp_path / "b")


# Credentials in files


def with_secret_files(directory: Path, route_b_id: bytes, password: bytes) -> str:
    for name, content in (("routeb-id", route_b_id), ("routeb-password", password)):
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o400)
    return "[routeB]\nid_file = routeb-id\npassword_file = routeb-password\n"


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_credentials_come_from_files_beside_the_settings_less_one_line_ending(tmp_path: Path, ending: bytes) -> None:
    content = with_secret_files(tmp_path, ROUTE_B_ID.encode() + ending, PASSWORD.encode() + ending)
    read = load(tmp_path, content)
    assert (read.route_b.id, read.route_b.password) == (ROUTE_B_ID, PASSWORD)


def test_the_credentials_of_systemd_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    with_secret_files(credentials, ROUTE_B_ID.encode(), b"from-systemd")
    content = with_secret_files(tmp_path, ROUTE_B_ID.encode(), b"from-beside")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert settings.load(write(tmp_path, content)).route_b.password == "from-systemd"
    (credentials / "routeb-password").unlink()
    assert settings.load(write(tmp_path, content)).route_b.password == "from-beside"


def test_an_absolute_credential_file_is_read_where_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with_secret_files(elsewhere, ROUTE_B_ID.encode(), PASSWORD.encode())
    content = f"[routeB]\nid_file = {elsewhere}/routeb-id\npassword_file = {elsewhere}/routeb-password\n"
    assert load(tmp_path, content).route_b.password == PASSWORD


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        (b"", "[routeB] password: expected the password your grid company sent"),
        (b"0123\r\n456\n", "password_file: expected one line of printable ASCII in the file routeb-password"),
        (b"0123456789AB\n\n", "password_file: expected one line of printable ASCII"),
        (b"0123456789AB\rSKERASE", "got a control character"),
        (b"\x00", "got a control character"),
        (b"0123\x7f", "got a control character"),
        (b"\xff\xfe0123", "got other bytes"),
        (b"with space", "[routeB] password: expected"),
        (b"x" * 33, "which is too long"),
    ],
)
def test_a_bad_credential_file_is_refused(tmp_path: Path, password: bytes, expected: str) -> None:
    assert expected in refusal(tmp_path, with_secret_files(tmp_path, ROUTE_B_ID.encode(), password))


def test_a_missing_credential_file_is_named(tmp_path: Path) -> None:
    content = with_secret_files(tmp_path, ROUTE_B_ID.encode(), PASSWORD.encode())
    (tmp_path / "routeb-password").unlink()
    message = refusal(tmp_path, content)
    assert message == (
        "[routeB] password_file: expected one line of printable ASCII in the file routeb-password, "
        "got No such file or directory"
    )


@pytest.mark.parametrize("name", [".", "x" * 5000])
def test_a_credential_file_that_cannot_be_one_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = write(tmp_path, f"[routeB]\nid = {ROUTE_B_ID}\npassword_file = {name}\n")
    with pytest.raises(SettingsError, match="password_file: expected one line of printable ASCII"):
        settings.load(path)


@pytest.mark.parametrize("key", ["id", "password"])
def test_a_secret_and_its_file_together_are_refused(tmp_path: Path, key: str) -> None:
    message = refusal(tmp_path, f"{METER}{key}_file = somewhere\n")
    assert message == f"[routeB] {key}: expected either {key} or {key}_file, got both"


# What is refused, with file, section and key


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ("", "got nothing"),
        ("0" * 32, "got the placeholder of the sample file"),
        (ROUTE_B_ID[:-1], "got 31 characters that are not (not shown)"),
        (ROUTE_B_ID + "0", "got 33 characters that are not (not shown)"),
        (ROUTE_B_ID[:-1] + "G", "got 32 characters that are not (not shown)"),
        ("0011 2233 4455 6677 8899 AABB CCDD EEFF", "got spaces or hyphens too: write the digits without them"),
        ("0" * 31 + "０", "got 32 characters that are not (not shown)"),  # a full-width digit is no hex digit here
        (ROUTE_B_ID + "\x00", "got a control character"),
        (ROUTE_B_ID[:16] + "\r" + ROUTE_B_ID[16:], "got a control character"),
        (ROUTE_B_ID[:16] + "\t" + ROUTE_B_ID[16:], "got a control character"),
        (ROUTE_B_ID + "\n SKERASE", "got more: is the line below it indented?"),
    ],
)
def test_a_wrong_id_is_refused_and_not_shown(tmp_path: Path, wrong: str, what: str) -> None:
    message = refusal(tmp_path, f"[routeB]\npassword = {PASSWORD}\nid = {wrong}\n")
    assert message.startswith("[routeB] id: expected ")
    assert message.endswith(what)
    assert not wrong or wrong not in message


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ("", "got nothing"),
        ("XXXXXXXXXXXX", "got the placeholder of the sample file"),
        ("0123 456789A", "got 12 characters, with a space or a character that is not ASCII (not shown)"),
        ("パスワード", "got 5 characters, with a space or a character that is not ASCII (not shown)"),
        ("x" * 33, "got 33 characters, which is too long (not shown)"),
        ("0123\rSKERASE", "got a control character"),
        ("0123\x1b456", "got a control character"),
        ("0123\x7f456", "got a control character"),
        ("0123\n SKERASE", "got more: is the line below it indented?"),
    ],
)
def test_a_wrong_password_is_refused_and_not_shown(tmp_path: Path, wrong: str, what: str) -> None:
    message = refusal(tmp_path, f"[routeB]\nid = {ROUTE_B_ID}\npassword = {wrong}\n")
    assert message.startswith("[routeB] password: expected ")
    assert message.endswith(what)
    assert not wrong or wrong not in message


@pytest.mark.parametrize(
    ("section", "key", "wrong", "expected"),
    [
        ("routeB", "device", "/dev/ttyUSB0 ; the stick", "a device"),
        ("routeB", "interval", "0", "whole seconds, 1 to 3600"),
        ("routeB", "interval", "3601", "whole seconds, 1 to 3600"),
        ("routeB", "interval", "1.5", "whole seconds, 1 to 3600"),
        ("routeB", "interval", "60 ; seconds", "whole seconds, 1 to 3600"),
        ("routeB", "interval", "1_0", "whole seconds, 1 to 3600"),
        ("routeB", "interval", "６０", "whole seconds, 1 to 3600"),
        ("routeB", "interval", "9" * 50, "whole seconds, 1 to 3600"),
        ("routeB", "timeout", "0.99", "seconds, 1 to 120"),
        ("routeB", "timeout", "121", "seconds, 1 to 120"),
        ("routeB", "timeout", "nan", "seconds, 1 to 120"),
        ("routeB", "timeout", "1e1", "seconds, 1 to 120"),
        ("routeB", "history_pause", "-1", "seconds, 0 to 600"),
        ("routeB", "history_pause", "601", "seconds, 0 to 600"),
        ("storage", "data_dir", "~nobody-of-this-name/x", "a directory"),
        ("storage", "data_dir", "/var/lib/x # spool", "a directory"),
        ("cpu", "zone", "thermal/thermal_zone1", "the type of a thermal zone such as cpu-thermal, or an absolute path"),
        ("cpu", "zone", "acpitz # the second", "the type of a thermal zone such as cpu-thermal, or an absolute path"),
        ("co2", "device", "/dev/serial0 # UART", "a device"),
        ("co2", "warm_up", "3601", "seconds, 0 to 3600"),
        ("co2", "warm_up", "soon", "seconds, 0 to 3600"),
        ("bme280", "bus", "-1", "the number of an I2C bus, 0 to 255"),
        ("bme280", "bus", "/dev/i2c-1", "the number of an I2C bus, 0 to 255"),
        ("bme280", "address", "0x78", "0x76 or 0x77"),
        ("graph", "language", "fr", "ja or en, or nothing for the locale's"),
        ("graph", "timezone", "Asia/Edo", "a time zone such as Asia/Tokyo"),
        ("graph", "timezone", "Asia", "a time zone such as Asia/Tokyo"),
        ("graph", "timezone", "/etc/localtime", "a time zone such as Asia/Tokyo"),
        ("graph", "timezone", "../Tokyo", "a time zone such as Asia/Tokyo"),
        ("graph", "contract_a", "30A", "amperes, 1 to 1000"),
        ("graph", "contract_a", "0", "amperes, 1 to 1000"),
        ("tariff", "base_yen", "-1", "yen a month, 0 to 1000000"),
        ("tariff", "export_yen", "1001", "yen per kWh, 0 to 1000"),
        ("tariff", "fuel_adjustment_yen", "-1001", "yen per kWh, -1000 to 1000"),
        ("tariff", "renewable_levy_yen", "3,49", "yen per kWh, 0 to 1000"),
        ("tariff", "billing_day", "29", "a day of the month, 1 to 28"),
        ("tariff", "billing_day", "0", "a day of the month, 1 to 28"),
    ],
)
def test_a_wrong_value_names_section_key_and_range(
    tmp_path: Path, section: str, key: str, wrong: str, expected: str
) -> None:
    sections = {"routeB": METER, "tariff": "[tariff]\ntiers = :31\n"}
    sections[section] = sections.get(section, f"[{section}]\n") + f"{key} = {wrong}\n"
    message = refusal(tmp_path, "".join(sections.values()))
    assert message.startswith(f"[{section}] {key}: expected {expected}, got '{wrong}'")


def test_a_url_of_another_kind_is_refused_and_not_shown(tmp_path: Path) -> None:
    message = refusal(tmp_path, METER + "[database]\nurl = mysql://meter:OpenSesame@db/power\n")
    assert message == "[database] url: expected postgresql://user@host/database, got something else (not shown)"


def test_the_keyword_form_of_a_connection_is_accepted(tmp_path: Path) -> None:
    assert load(tmp_path, METER + "[database]\nurl = host=/run/postgresql dbname=power\n").database.url


def test_a_site_has_a_name_of_moderate_length(tmp_path: Path) -> None:
    assert load(tmp_path, METER + f"[storage]\nsite = {'x' * 63}\n").storage.site == "x" * 63
    message = refusal(tmp_path, METER + f"[storage]\nsite = {'x' * 64}\n")
    assert message == "[storage] site: expected a name of at most 63 characters, got 64 characters"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[routeb]\n", "unknown section 'routeb'; did you mean routeB?"),
        ("[bme208]\n", "unknown section; did you mean bme280?"),
        (
            "[DEFAULT]\nx = 1\n",
            "unknown section 'DEFAULT'; there are routeB, database, storage, cpu, co2, bme280, graph",
        ),
        ("[routeB]\nintervall = 60\n", "[routeB] unknown key 'intervall'; did you mean interval?"),
        ("[graph]\ncolour = red\n", "[graph] unknown key 'colour'; there are language, output_dir, timezone"),
        ("[database]\nurl = x\nurl = y\n", "line 3: the key 'url' is there twice in its section"),
        ("[graph]\n[routeB]\n[graph]\n", "line 3: the section 'graph' is there twice"),
        ("\ninterval = 60\n", "line 2: expected a section such as [routeB] first"),
        ("[routeB]\n\njust words\n", "line 3: expected key = value or [section]"),
        ("[routeB]\n= 60\n", "line 2: expected key = value or [section]"),
        (b"[graph]\n[storage]\nsite = \x83\x7a\x81\x5b\n", "line 3: expected UTF-8 text, got other bytes"),
        ("", "[routeB] id: expected the 32 hex digits your grid company sent (or id_file), got nothing"),
    ],
)
def test_a_malformed_file_says_where(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert refusals(tmp_path, content)[0].startswith(expected)


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    content = """
[routeB]
id = 0
interval = 0
intervall = 60
[database]
url = mysql://db
[storage]
data_dir = /var # data
[bme280]
bus = 999
address = 0x99
[graf]
[graph]
language = fr
timezone = Asia/Edo
[tariff]
tiers = :31
base_yen = -1
billing_day = 31
"""
    assert [line.split(": ")[0] for line in refusals(tmp_path, content)] == [
        "[routeB] unknown key 'intervall'; did you mean interval?",
        "unknown section 'graf'; did you mean graph?",
        "[database] url",
        "[storage] data_dir",
        "[graph] language",
        "[graph] timezone",
        "[tariff] base_yen",
        "[tariff] billing_day",
        "[routeB] id",
        "[routeB] password",
        "[routeB] interval",
        "[bme280] bus",
        "[bme280] address",
    ]


@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_around_a_value_are_kept_and_warned_of_without_the_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, quote: str
) -> None:
    quoted = f"{quote}{PASSWORD}{quote}"
    assert load(tmp_path, f"[routeB]\nid = {ROUTE_B_ID}\npassword = {quoted}\n").route_b.password == quoted
    [message] = caplog.messages
    assert message.endswith("[routeB] password: the quotes are taken for a part of the value")


@pytest.mark.parametrize("comment", ["# my house", "; my house"])
def test_a_comment_behind_the_site_is_a_part_of_it_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, comment: str
) -> None:
    assert load(tmp_path, METER + f"[storage]\nsite = home {comment}\n").storage.site == f"home {comment}"
    [message] = caplog.messages
    assert message.endswith("[storage] site: a comment stands on a line of its own; here it counts")


ALL_DIGITS_ID = "00112233" * 4


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://meter:OpenSesame@db.example/power",
        "host=db.example password=OpenSesame",
        ROUTE_B_ID,
        ROUTE_B_ID.lower(),
        PASSWORD,
        ALL_DIGITS_ID,
        "60 # 0A1B2C3D4E5F",
        f"'{PASSWORD}'",
    ],
)
@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("routeB", "interval"),
        ("routeB", "timeout"),
        ("bme280", "address"),
        ("graph", "language"),
        ("graph", "timezone"),
        ("graph", "contract_a"),
        ("tariff", "tiers"),
        ("tariff", "time_of_use"),
    ],
)
def test_what_looks_like_a_secret_is_not_quoted(tmp_path: Path, section: str, key: str, secret: str) -> None:
    """A value that slipped behind the wrong key."""
    before = METER if section == "routeB" else f"{METER}[{section}]\n"
    lines = refusals(tmp_path, f"{before}{key} = {secret}\n")
    assert any(line.startswith(f"[{section}] {key}: expected") and "(not shown)" in line for line in lines)
    for part in ("OpenSesame", ROUTE_B_ID, ROUTE_B_ID.lower(), PASSWORD, ALL_DIGITS_ID, "0A1B2C3D4E5F", "db.example"):
        assert part not in "".join(lines)


@pytest.mark.parametrize("secret", ["postgresql://meter:OpenSesame@db.example/power", ROUTE_B_ID, PASSWORD])
@pytest.mark.parametrize(("section", "key"), [("routeB", "device"), ("co2", "device"), ("storage", "data_dir")])
def test_what_looks_like_a_secret_is_not_taken_for_a_name_that_the_log_shows(
    tmp_path: Path, section: str, key: str, secret: str
) -> None:
    before = METER if section == "routeB" else f"{METER}[{section}]\n"
    assert refusal(tmp_path, f"{before}{key} = {secret}\n").endswith("that look like a secret (not shown)")


@pytest.mark.parametrize(
    "device", ["/dev/serial/by-id/usb-FTDI_FT232R_USB_UART-0123456789AB-if00", "/dev/ttyUSB0", "loop0"]
)
def test_the_path_of_a_device_is_no_secret_whatever_its_serial_number(tmp_path: Path, device: str) -> None:
    assert load(tmp_path, f"{METER}device = {device}\n").route_b.device == device


def test_a_missing_file_says_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.ini: no such file: copy power_consumption\.ini-sample to it"):
        settings.load(tmp_path / "absent.ini")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        settings.load(tmp_path)


def test_a_file_of_another_user_says_as_whom_to_run_this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> NoReturn:  # root may read every file, so it is played
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SettingsError, match="cannot be read: Permission denied: run this as the user whose file it is"):
        settings.load(tmp_path / "power_consumption.ini")


# The tariff


def load_tariff(directory: Path, lines: str) -> Tariff:
    tariff = settings.load_for_graphs(write(directory, f"[tariff]\n{lines}")).tariff
    assert tariff is not None
    return tariff


def test_a_tiered_tariff_is_read(tmp_path: Path) -> None:
    read = load_tariff(
        tmp_path,
        "base_yen = 935.25\ntiers = 120:29.80, 300:36.40, :40.49\nexport_yen = 8.5\n"
        "fuel_adjustment_yen = -6.21\nrenewable_levy_yen = 3.98\nbilling_day = 17\n",
    )
    assert read == Tariff(
        base_yen=Decimal("935.25"),
        tiers=(
            Tier(Decimal(120), Decimal("29.80")),
            Tier(Decimal(300), Decimal("36.40")),
            Tier(None, Decimal("40.49")),
        ),
        time_of_use=(),
        export_yen_per_kwh=Decimal("8.5"),
        fuel_adjustment_yen_per_kwh=Decimal("-6.21"),
        renewable_levy_yen_per_kwh=Decimal("3.98"),
        billing_day=17,
    )


def test_one_price_for_all_is_a_single_tier(tmp_path: Path) -> None:
    read = load_tariff(tmp_path, "tiers = :31.00\n")
    assert read.tiers == (Tier(None, Decimal(31)),)
    assert (read.base_yen, read.export_yen_per_kwh, read.billing_day) == (Decimal(0), None, 1)


def test_a_time_of_use_tariff_prices_each_half_hour(tmp_path: Path) -> None:
    read = load_tariff(tmp_path, "time_of_use = 7:00-22:30 35.76, 22:30-07:00 27.86\n")
    night, day = Decimal("27.86"), Decimal("35.76")
    # 00:00 to 07:00 are 14 half hours, 07:00 to 22:30 are 31, 22:30 to 24:00 are 3.
    assert read.time_of_use == (night,) * 14 + (day,) * 31 + (night,) * 3
    assert read.tiers == ()


@pytest.mark.parametrize("span", ["00:00-24:00", "00:00-00:00", "07:00-07:00"])
def test_one_span_may_cover_the_day(tmp_path: Path, span: str) -> None:
    assert load_tariff(tmp_path, f"time_of_use = {span} 30\n").time_of_use == (Decimal(30),) * 48


@pytest.mark.parametrize(
    "wrong",
    [
        "120:29.80",  # nothing above 120 kWh
        ":29.80, 120:36.40",
        "300:29.80, 120:36.40, :40",
        "120:29.80, 120:36.40, :40",
        "0:29.80, :40",
        "120:29.80,, :40",
        "120:29.80, :40,",
        "120, :40",
        "120:, :40",
        "120:-1, :40",
        ":1001",
        "120=29.80",
        ",",
    ],
)
def test_tiers_that_do_not_rise_to_the_end_are_refused(tmp_path: Path, wrong: str) -> None:
    message = refusal(tmp_path, f"{METER}[tariff]\ntiers = {wrong}\n")
    assert message.startswith("[tariff] tiers: expected rising kWh:yen steps, the last without a bound")
    assert message.endswith(f"got '{wrong}'")


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ("07:00-23:00 35.76", "which leaves a part of the day out"),
        ("07:00-23:00 35.76, 22:00-07:00 27.86", "where times overlap"),
        ("00:00-24:00 30, 00:00-24:00 31", "where times overlap"),
        ("07:15-23:00 35.76, 23:00-07:15 27.86", ""),
        ("07:00-23:00, 23:00-07:00", ""),
        ("25:00-07:00 30", ""),
        ("24:00-24:00 30", ""),
        ("00:00-24:30 30", ""),
        ("00:00-24:00 x", ""),
        ("00:00-24:00 1001", ""),
        ("all day 30", ""),
    ],
)
def test_times_that_do_not_cover_the_day_once_are_refused(tmp_path: Path, wrong: str, what: str) -> None:
    message = refusal(tmp_path, f"{METER}[tariff]\ntime_of_use = {wrong}\n")
    assert message.startswith("[tariff] time_of_use: expected times on half hours that cover the day once")
    assert message.endswith(f"got '{wrong}'" + (f", {what}" if what else ""))


@pytest.mark.parametrize(
    ("lines", "got"), [("base_yen = 900\n", "neither"), ("tiers = :30\ntime_of_use = 00:00-24:00 30\n", "both")]
)
def test_a_tariff_has_either_tiers_or_times(tmp_path: Path, lines: str, got: str) -> None:
    message = refusal(tmp_path, f"{METER}[tariff]\n{lines}")
    assert message == f"[tariff] tiers: expected either tiers or time_of_use, got {got}"


# The graph scripts


def test_graphs_need_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read = settings.load_for_graphs()
    assert (read.database.url, read.storage.site, read.graph.timezone) == (None, "home", ZoneInfo("Asia/Tokyo"))


def test_graphs_read_the_default_file_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "[graph]\nlanguage = en\n")
    monkeypatch.chdir(tmp_path)
    assert settings.load_for_graphs().graph.language == "en"


def test_graphs_insist_on_a_file_that_was_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        settings.load_for_graphs(tmp_path / "absent.ini")


@pytest.mark.parametrize(
    "route_b",
    [
        "",
        "[routeB]\n",
        "[routeB]\nid = 0\npassword = パスワード\ninterval = never\n",
        "[routeB]\nid = \x00\npassword = a\n b\n",
        "[routeB]\nid_file = /absent\npassword = x\npassword_file = /absent\n",
    ],
)
def test_graphs_never_look_at_the_credentials(tmp_path: Path, route_b: str) -> None:
    read = settings.load_for_graphs(write(tmp_path, f"{route_b}[storage]\nsite = x\n"))
    assert read.storage.site == "x"


def test_the_poller_and_the_graphs_read_the_same_values(tmp_path: Path) -> None:
    path = write(tmp_path, f"{METER}[database]\nurl = {URL}\n[graph]\ncontract_a = 30\n[tariff]\ntiers = :30\n")
    whole, part = settings.load(path), settings.load_for_graphs(path)
    names = [item.name for item in dataclasses.fields(GraphSettings)]
    assert [getattr(whole, name) for name in names] == [getattr(part, name) for name in names]


# Warnings


@pytest.mark.parametrize(("interval", "count"), [(1, 1), (9, 1), (10, 0), (60, 0)])
def test_an_interval_below_ten_seconds_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, interval: int, count: int
) -> None:
    assert load(tmp_path, f"{METER}interval = {interval}\n").route_b.interval_s == interval
    assert [record.levelname for record in caplog.records] == ["WARNING"] * count


@pytest.mark.parametrize(
    ("content", "mode", "warns"),
    [
        (METER, 0o600, False),
        (METER, 0o640, True),
        (METER, 0o604, True),
        (METER, 0o644, True),
        (f"[database]\nurl = {URL}\n", 0o644, True),
        ("[database]\nurl = host=db password = x\n", 0o644, True),
        ("[database]\nurl = postgresql://meter@db/power\n", 0o644, False),
        ("[routeB]\npassword = XXXXXXXXXXXX\n", 0o644, False),
        ("[graph]\nlanguage = ja\n", 0o644, False),
    ],
)
def test_a_password_others_can_read_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, mode: int, warns: bool
) -> None:
    path = write(tmp_path, content, mode=mode)
    settings.load_for_graphs(path)
    assert caplog.messages == ([f"{path} holds a secret and others can read it: chmod 600 {path}"] if warns else [])


def test_a_password_file_others_can_read_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = with_secret_files(tmp_path, ROUTE_B_ID.encode(), PASSWORD.encode())
    (tmp_path / "routeb-password").chmod(0o644)
    load(tmp_path, content)
    assert [record.getMessage().rsplit("/", 1)[1] for record in caplog.records] == ["routeb-password"]


# Secrets


def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    shown = repr(load(tmp_path, f"{METER}[database]\nurl = {URL}\n"))
    assert "RouteB(device='/dev/ttyUSB0', interval_s=60" in shown
    assert not [secret for secret in (ROUTE_B_ID, PASSWORD, URL, "Sesame") if secret in shown]


SECRET_LINES = (f"id = {ROUTE_B_ID}", f"password = {PASSWORD}", f"url = {URL}")


@pytest.mark.parametrize(
    "content",
    [
        f"password = {PASSWORD}\n",  # before any section
        f"[routeB]\n{PASSWORD}\n",  # a line of its own
        f"[routeB]\n{PASSWORD} = x\n",
        f"[routeB]\nid = {ROUTE_B_ID}\npassword_file = {PASSWORD}\n",
        f"[routeB]\nid_file = {ROUTE_B_ID}\n",
        f"[{PASSWORD}]\n",
        f"[{PASSWORD}]\nx = 1\nx = 2\n",
        f"[routeB]\npassword {PASSWORD} = x\n",
        f"[routeB]\npassword = {PASSWORD}\npassword = {PASSWORD}\n",
        f"[routeB]\nid = {ROUTE_B_ID}\n {PASSWORD}\n",
        f"[routeB]\nid = {PASSWORD}\npassword = {ROUTE_B_ID}\n",
        f"[routeB]\nid = {ROUTE_B_ID}\npassword = {PASSWORD}\n{PASSWORD}\n",
        f"[routeB]\nid = {ROUTE_B_ID}\npassword = {PASSWORD} {PASSWORD}\n",
        f"[database]\nurl = x {PASSWORD}\n",
        f"[routeB]\nid = {ROUTE_B_ID}\npassword = {PASSWORD}\n[database]\nurl = {PASSWORD}\n".encode() + b"\xff",
    ],
)
def test_no_secret_is_in_an_error_nor_in_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | bytes
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, content)
    shown = "".join(traceback.format_exception(caught.value)).replace(str(tmp_path), "") + caplog.text
    assert not [secret for secret in (ROUTE_B_ID, PASSWORD, URL) if secret in shown]


WHOLE_FILE = f"[routeB]\n{SECRET_LINES[0]}\n{SECRET_LINES[1]}\ninterval = 5\n[database]\n{SECRET_LINES[2]}\n"


@pytest.mark.system
@given(
    position=st.integers(0, len(WHOLE_FILE)),
    removed=st.integers(0, 4),
    inserted=st.text(st.sampled_from("\n\r\t\0 =:;#[]%x0あ"), max_size=4),
)
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_slip_of_the_hand_never_shows_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, position: int, removed: int, inserted: str
) -> None:
    caplog.clear()
    content = WHOLE_FILE[:position] + inserted + WHOLE_FILE[position + removed :]
    try:
        shown = repr(load(tmp_path, content))
    except SettingsError as err:
        shown = str(err)
    shown = (shown + caplog.text).replace(str(tmp_path), "")
    # Six characters in a row of any of the three would be too many.
    pieces = {secret[i : i + 6] for secret in (ROUTE_B_ID, PASSWORD, "Open#Sesame;1%") for i in range(len(secret) - 5)}
    assert not [piece for piece in pieces if piece in shown]


@given(content=st.binary(max_size=400))
@example(content=b"[routeB]\nid\n")
@example(content=b"[]\n")
@example(content=b"[routeB]\n key\n")
@example(content=b"\xef\xbb\xbf")
@example(content=b"[graph]\ntimezone=\xf0\x9f\x95\x90\n")
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_load_or_are_refused_line_by_line(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    for load_it in (settings.load, settings.load_for_graphs):
        try:
            load_it(path)
        except SettingsError as err:
            lines = str(err).splitlines()
        else:
            lines = []
        assert all(line.startswith(str(tmp_path)) for line in lines)


CHARACTERS = st.text(st.sampled_from([*map(chr, range(0x80)), *"\x85\xa0０あ円\u2028\ufeff😀"]), max_size=40)


@pytest.mark.system
@given(
    values=st.dictionaries(
        st.sampled_from([(section, key) for section, keys in CONTRACT.items() for key in sorted(keys)]),
        CHARACTERS | st.from_regex(r"[-0-9:., ]{1,30}", fullmatch=True),
    )
)
@example(values={("routeB", "id_file"): "0\x850"})
@example(values={("routeB", "password_file"): "a/b\u2028c"})
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_of_any_key_loads_or_is_refused_line_by_line(
    tmp_path: Path, values: dict[tuple[str, str], str]
) -> None:
    content = "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for (of, key), value in values.items() if of == section)
        for section in CONTRACT
    )
    for load_it in (settings.load, settings.load_for_graphs):
        try:
            load_it(write(tmp_path, content.encode()))
        except SettingsError as err:
            lines = str(err).splitlines()
        else:
            lines = []
        assert all(line.startswith(str(tmp_path)) for line in lines)


# The sample file and the code


def sample() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(SAMPLE.read_text(encoding="utf-8"))
    return parser


def test_the_sample_has_exactly_the_keys_of_the_contract() -> None:
    parser = sample()
    assert {section: set(parser[section]) for section in parser.sections()} == CONTRACT
    assert {section: set(keys) for section, keys in settings.KEYS.items()} == CONTRACT


def test_every_key_of_the_sample_is_a_field_and_the_other_way_round() -> None:
    classes = {
        "routeB": RouteB,
        "database": Database,
        "storage": Storage,
        "cpu": Cpu,
        "co2": Co2,
        "bme280": Bme280,
        "graph": Graph,
        "tariff": Tariff,
    }
    for section, keys in CONTRACT.items():
        fields = {
            item.name.removesuffix("_s").removesuffix("_per_kwh") for item in dataclasses.fields(classes[section])
        }
        assert fields == keys - {"id_file", "password_file"}


def test_the_values_in_the_sample_are_the_defaults(tmp_path: Path) -> None:
    filled_in = SAMPLE.read_text(encoding="utf-8").replace("0" * 32, ROUTE_B_ID).replace("X" * 12, PASSWORD)
    assert load(tmp_path, filled_in) == load(tmp_path, METER)


def test_the_sample_itself_is_refused_for_its_placeholders_but_draws(tmp_path: Path) -> None:
    content = SAMPLE.read_text(encoding="utf-8")
    lines = refusals(tmp_path, content)
    assert len(lines) == 2
    assert all(line.endswith("got the placeholder of the sample file") for line in lines)
    assert settings.load_for_graphs(SAMPLE).tariff is None


def test_every_key_of_the_sample_is_explained_just_above_it() -> None:
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        key, equals, _ = line.partition(" =")
        if equals and not line.startswith("#"):
            above = lines[max(index for index in range(number) if not lines[index].startswith("#")) + 1 : number]
            assert above, f"{key} has no comment"
            assert key in ("id", "password") or any(text.startswith("# Default: ") for text in above), key


@pytest.mark.parametrize("key", ["tiers", "time_of_use"])
def test_the_examples_in_the_sample_can_be_used(tmp_path: Path, key: str) -> None:
    examples = [
        line.removeprefix("# Example: ")
        for line in SAMPLE.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"# Example: {key} = ")
    ]
    assert len(examples) == 1
    assert getattr(load_tariff(tmp_path, examples[0] + "\n"), key)


@pytest.mark.system
def test_importing_the_settings_is_light() -> None:
    heavy = {"configparser", "zoneinfo", "difflib", "decimal"}
    code = f"import sys, settings; print(*sorted({heavy!r} & set(sys.modules)))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize(
    "secret", [URL, "me:Open#Sesame@db", "password=Open#Sesame", PASSWORD, ROUTE_B_ID, "A1B2C3D4E5F6"]
)
@pytest.mark.parametrize(
    ("section", "key"),
    [
        (section, key)
        for section, keys in CONTRACT.items()
        for key in sorted(keys)
        if (section, key) != ("database", "url")
    ],
)
def test_a_secret_behind_the_wrong_key_is_not_quoted(tmp_path: Path, section: str, key: str, secret: str) -> None:
    """As in "timeout = postgresql://...": a line was put in the wrong place."""
    line = f"[{section}]\n{key} = {secret} # x\n"
    said = error_of(tmp_path, line if section == "routeB" else METER + line)
    assert secret not in said
    assert "Sesame" not in said


def error_of(directory: Path, content: str) -> str:
    """Return what refuses *content*, or nothing."""
    try:
        load(directory, content)
    except SettingsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "swallowed", [f"36word = {PASSWORD.lower()}", f"Asia{ROUTE_B_ID}", f"Asia/Tokyo{PASSWORD}", "Tokyord = OpenSesame"]
)
def test_a_value_that_has_swallowed_a_secret_is_described(tmp_path: Path, swallowed: str) -> None:
    """Two lines became one: the key of the secret is lost, or a part of it."""
    said = refusal(tmp_path, f"{METER}[graph]\ntimezone = {swallowed}\n")
    assert said.endswith(f"got {len(swallowed)} characters that look like a secret (not shown)")


def test_a_url_behind_the_timeout_is_described(tmp_path: Path) -> None:
    said = refusal(tmp_path, f"{METER}timeout = {URL}\n")
    assert said.endswith(f"got {len(URL)} characters that look like a secret (not shown)")
