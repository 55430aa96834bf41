"""The version, in one place: pyproject.toml and --version read it here."""

VERSION = "1.0.0"
