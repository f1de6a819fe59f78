"""`python -m console.manage create_staff NAME --role ROLE [--json]`: what `amulet users create` runs."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.errors import Refusal
from console.staff.services import NewStaff, create_user


class Command(BaseCommand):
    help = "Makes a member of staff and prints the first password, second factor and token, once."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--role", required=True)
        parser.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            staff = create_user(name=options["name"], role=options["role"])
        except Refusal as error:
            raise CommandError(error.message, returncode=1) from None
        document = _document(staff)
        if options["as_json"]:
            self.stdout.write(json.dumps(document))
            return
        for name, value in document.items():
            self.stdout.write(f"{name:<12} {value}")


def _document(staff: NewStaff) -> dict[str, str]:
    return {
        "name": staff.user.username,
        "role": staff.role,
        "password": staff.password,
        "totp_seed": staff.totp_seed,
        "otpauth_url": staff.otpauth_url,
        "token": staff.token,
    }
