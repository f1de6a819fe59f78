"""Django's commands: `python -m console.manage migrate` and the like."""

from __future__ import annotations

import os
import sys

from console.site.configuration import ConfigurationWrong


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns 2 with one sentence when a setting is wrong."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.site.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(["console.manage", *(sys.argv[1:] if arguments is None else arguments)])
    except ConfigurationWrong as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
