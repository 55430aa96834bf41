"""The ini file as sections of checked texts. What the keys mean is in settings.py.

An error is one line that names file, section and key, what was expected and what came; a secret is never shown.
Importing this module is light: configparser and decimal are imported only when a file is read.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from errors import UsageError

if TYPE_CHECKING:
    from decimal import Decimal

logger = logging.getLogger(__name__)

T = TypeVar("T")

Texts = dict[str, dict[str, str]]  # by section and key

_CONTROL = re.compile(r"[\x00-\x1F\x7F-\x9F\u2028\u2029]")  # and what ends a line for Unicode
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")
_COMMENT_BEHIND = re.compile(r"\s[;#]")
_QUOTED = re.compile(r"(['\"]).*\1", re.DOTALL)
# A Route-B ID, and a password as the grid companies make them.
_CREDENTIAL = re.compile(r"[0-9A-Fa-f]{32}|(?=.*[0-9])(?=.*[A-Z])[0-9A-Z]{12}")
_URL_WITH_USER = re.compile(r"://[^/@]*@")
# Wider than both: to leave out too much of an error does no harm. A word and "=" are a key that a value has swallowed.
_MAY_BE_SECRET = re.compile(
    r":[^/@]*@|://[^/@]*@|[A-Z_]\s*=|password|(?<![0-9A-F])[0-9A-F]{32}(?![0-9A-F])"
    r"|(?=[A-Z]*[0-9])(?=[0-9]*[A-Z])[0-9A-Z]{10}",
    re.I,
)


class SettingsError(UsageError):
    """The settings cannot be used. Each line is one error for the person who edits the file, without any secret."""


@dataclass(frozen=True, slots=True)
class Section:
    """The texts of one section, handed out by key and checked on the way."""

    path: Path
    name: str
    texts: Mapping[str, str]
    problems: list[str]

    @property
    def is_empty(self) -> bool:
        """Whether no key has a value."""
        return not any(self.texts.values())

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note a SettingsError for IniFile.conclude, and go on."""
        try:
            yield
        except SettingsError as error:
            self.problems.append(str(error))

    def error(self, key: str, expected: str, got: str) -> SettingsError:
        """Say what is wrong with *key*; *got* is quoted by the caller, or describes a secret without showing it."""
        return SettingsError(f"{self.path}: [{self.name}] {key}: expected {expected}, got {got}")

    def text(self, key: str) -> str:
        """Return the value, "" where it is not given."""
        text = self.texts.get(key, "")
        if "\n" in text:
            raise self.error(key, "one line", "more: is the line below it indented?")
        if _CONTROL.search(text):
            raise self.error(key, "printable characters", "a control character")
        return text

    def free(self, key: str, default: str) -> str:
        """Return a text that may hold anything. A comment behind it is a part of it, and warned of."""
        text = self.text(key) or default
        if _COMMENT_BEHIND.search(text):
            logger.warning(
                "%s: [%s] %s: a comment stands on a line of its own; here it counts", self.path, self.name, key
            )
        return text

    def plain(self, key: str, expected: str, default: str) -> str:
        """Return a text in which a comment behind the value would be taken for a part of it."""
        text = self.text(key) or default
        if _COMMENT_BEHIND.search(text):
            raise self.error(key, expected, f"{shown(text)}: a comment stands on a line of its own")
        if _CREDENTIAL.fullmatch(text) or _URL_WITH_USER.search(text):
            raise self.error(key, expected, shown(text))  # used as a name, it would stand in the log
        return text

    def decimal(self, key: str, what: str, low: int, high: int, default: T) -> Decimal | T:
        """Return a number from *low* to *high*. *what* is its unit, for the error."""
        text = self.text(key)
        if not text:
            return default
        value = to_decimal(text)
        if value is None or not low <= value <= high:
            raise self.error(key, f"{what}, {low} to {high}", shown(text))
        return value

    def whole(self, key: str, what: str, low: int, high: int, default: int) -> int:
        """Return a whole number from *low* to *high*."""
        value = self.decimal(key, what, low, high, default)
        if value != int(value):
            raise self.error(key, f"{what}, {low} to {high}", shown(self.text(key)))
        return int(value)

    def seconds(self, key: str, low: int, high: int, default: float) -> float:
        """Return a time in seconds from *low* to *high*."""
        return float(self.decimal(key, "seconds", low, high, default))

    def directory(self, key: str, default: str) -> Path:
        """Return a path with ~ resolved."""
        text = self.plain(key, "a directory", default)
        try:
            return Path(text).expanduser()
        except RuntimeError:
            raise self.error(key, "a directory", f"{shown(text)}, whose home directory is unknown") from None

    def secret(self, key: str) -> str:
        """Return a secret from *key* or from the file that <key>_file names."""
        text, file_name = self.text(key), self.text(f"{key}_file")
        if text and file_name:
            raise self.error(key, f"either {key} or {key}_file", "both")
        if not file_name:
            return text
        # The name may be the secret itself, written behind the wrong key.
        # The causes below are dropped (from None), since they carry that name or the file's bytes.
        shown_name = file_name if _is_path(file_name) else "of that name"
        expected = f"one line of printable ASCII in the file {shown_name}"
        try:
            content = self._read_secret(file_name)
        except OSError as err:
            raise self.error(f"{key}_file", expected, f"{err.strerror}") from None
        try:
            secret = content.decode("ascii")
        except UnicodeDecodeError:
            raise self.error(f"{key}_file", expected, "other bytes") from None
        if _CONTROL.search(secret):
            raise self.error(f"{key}_file", expected, "a control character")
        return secret

    def _read_secret(self, file_name: str) -> bytes:
        path = self.path.parent / file_name
        # Source: systemd.exec(5), LoadCredential= and $CREDENTIALS_DIRECTORY.
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if credentials and (credential := Path(credentials, file_name)).exists():
            path = credential
        with path.open("rb") as file:
            _warn_if_readable_by_others(file, path)
            return re.sub(rb"\r?\n\Z", b"", file.read(4096))


class IniFile:
    """The whole file, with nothing in it that *keys*, by section, does not name.

    *holds_secret* gets the texts by section and key; if it is true, others must not be able to read the file.
    """

    def __init__(
        self,
        path: Path,
        keys: Mapping[str, tuple[str, ...]],
        *,
        required: bool = True,
        holds_secret: Callable[[Texts], bool],
    ) -> None:
        self._path = path
        self._problems: list[str] = []
        try:
            with path.open("rb") as file:
                content = file.read()
                self._texts = _parse(path, content, keys, self._problems)
                if holds_secret(self._texts):
                    _warn_if_readable_by_others(file, path)
        except FileNotFoundError as err:
            if required:
                remedy = "copy power_consumption.ini-sample to it and fill in [routeB]"
                raise SettingsError(f"{path}: no such file", remedy) from err
            self._texts = {}
        except OSError as err:
            remedy = "run this as the user whose file it is" if isinstance(err, PermissionError) else ""
            raise SettingsError(f"{path}: cannot be read: {err.strerror}", remedy) from err

    def section(self, name: str) -> Section:
        """Return a section; one that is not there is empty."""
        return Section(self._path, name, self._texts.get(name, {}), self._problems)

    def conclude(self) -> None:
        """Raise SettingsError with all that was found wrong, a line each."""
        if self._problems:
            raise SettingsError("\n".join(self._problems))


def _parse(path: Path, content: bytes, keys: Mapping[str, tuple[str, ...]], problems: list[str]) -> Texts:
    """Return what *keys* names; names that it does not are noted in *problems*."""
    import configparser

    # A section header is never empty, so with default_section="" no section lends its keys to the others.
    parser = configparser.ConfigParser(interpolation=None, default_section="", empty_lines_in_values=False)
    # The causes are dropped (from None): they quote the line or the bytes, which may hold a secret.
    try:
        parser.read_string(content.decode("utf-8-sig"))
    except UnicodeDecodeError as err:
        line = content.count(b"\n", 0, err.start) + 1
        raise SettingsError(f"{path}: line {line}: expected UTF-8 text, got other bytes") from None
    except configparser.MissingSectionHeaderError as err:
        raise SettingsError(f"{path}: line {err.lineno}: expected a section such as [routeB] first") from None
    except configparser.DuplicateSectionError as err:
        raise SettingsError(f"{path}: line {err.lineno}: the {_named('section', err.section)} is there twice") from None
    except configparser.DuplicateOptionError as err:
        key = _named("key", err.option)
        raise SettingsError(f"{path}: line {err.lineno}: the {key} is there twice in its section") from None
    except configparser.ParsingError as err:
        raise SettingsError(f"{path}: line {err.errors[0][0]}: expected key = value or [section]") from None
    for section in parser.sections():
        if section not in keys:
            problems.append(f"{path}: unknown {_named('section', section)}; {_nearest(section, keys)}")
            continue
        for key, text in parser[section].items():
            if key not in keys[section]:
                nearest = _nearest(key, keys[section])
                problems.append(f"{path}: [{section}] unknown {_named('key', key)}; {nearest}")
            elif _QUOTED.fullmatch(text):
                logger.warning("%s: [%s] %s: the quotes are taken for a part of the value", path, section, key)
    return {section: dict(parser[section]) for section in parser.sections()}


def _named(what: str, name: str) -> str:
    """Show a name only if it is a plain word: a slip of the hand can make a name of a secret."""
    return f"{what} {name!r}" if re.fullmatch(r"[A-Za-z_]{1,24}", name) else what


def _nearest(name: str, choices: Iterable[str]) -> str:
    import difflib

    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"did you mean {by_lower[close[0]]}?" if close else f"there are {', '.join(by_lower.values())}"


def _is_path(text: str) -> bool:
    """Whether *text* is the name of a file as far as one can see, and no secret."""
    if "=" in text or "@" in text:
        return False
    return "/" in text or not (text.isalnum() or _CREDENTIAL.search(text))


def shown(text: str) -> str:
    """Quote a value, not more of it than fits into a line, and nothing that may be a secret behind the wrong key."""
    if _MAY_BE_SECRET.search(text):
        return f"{len(text)} characters that look like a secret (not shown)"
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def _warn_if_readable_by_others(file: IO[bytes], path: Path) -> None:
    if os.fstat(file.fileno()).st_mode & (stat.S_IRGRP | stat.S_IROTH):
        logger.warning("%s holds a secret and others can read it: chmod 600 %s", path, path)


def to_decimal(text: str) -> Decimal | None:
    """Return a plain decimal number, None for anything else."""
    from decimal import Decimal

    return Decimal(text) if _NUMBER.fullmatch(text) else None
