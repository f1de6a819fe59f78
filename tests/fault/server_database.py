"""A driver's database on a server, set aside as it is before anybody is killed, and brought back before the next one.

SQLite's is a file of the state folder, which the driver copies: nothing is done here then.
"""

from __future__ import annotations

from django.db import connection


def is_on_a_server() -> bool:
    return connection.vendor == "postgresql"


def set_aside() -> None:
    if is_on_a_server():
        name = connection.settings_dict["NAME"]
        _at_the_server(f'CREATE DATABASE "{name}_start" TEMPLATE "{name}"')


def bring_back() -> None:
    if is_on_a_server():
        name = connection.settings_dict["NAME"]
        _at_the_server(f'DROP DATABASE "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}" TEMPLATE "{name}_start"')


def drop_copy() -> None:
    if is_on_a_server():
        _at_the_server(f'DROP DATABASE IF EXISTS "{connection.settings_dict["NAME"]}_start" WITH (FORCE)')


def _at_the_server(*statements: str) -> None:
    import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own

    known = connection.settings_dict
    outside = psycopg2.connect(
        dbname="postgres", host=known["HOST"], port=known["PORT"], user=known["USER"], password=known["PASSWORD"]
    )
    outside.autocommit = True
    with outside.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    outside.close()
