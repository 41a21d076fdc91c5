"""`talweg version`."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from talweg.client.cli._common import json_option, print_json, say

_PARTS = ("grpcio", "protobuf", "torch", "mlflow", "celery")


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Show the installed versions."""
    versions = {"talweg": version_of("talweg"), "python": platform.python_version()}
    for part in _PARTS:
        try:
            versions[part] = version_of(part)
        except PackageNotFoundError:
            continue
    if as_json:
        print_json(versions)
        return
    for name, number in versions.items():
        say(f"{name} {number}")
