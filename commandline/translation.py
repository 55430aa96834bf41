"""The command lines in Japanese where the locale is Japanese, in English elsewhere.

The catalogue also translates the words of argparse, which asks the same domain. After a change of the .po file:
pybabel compile -D power_consumption -d commandline/locale
"""

from __future__ import annotations

import gettext
import os.path

DOMAIN = "power_consumption"
LOCALE_DIR = os.path.join(os.path.dirname(__file__), "locale")


def install() -> None:
    """Let gettext.gettext, and with it argparse, speak the language of the environment (LANGUAGE, LC_ALL, LANG ...)."""
    gettext.bindtextdomain(DOMAIN, LOCALE_DIR)
    gettext.textdomain(DOMAIN)
