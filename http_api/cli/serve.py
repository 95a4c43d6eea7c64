"""`broker serve`: run a server."""

import click

from http_api.cli.options import settings_of
from http_api.settings import Settings, load


@click.command()
@settings_of(Settings)
def serve(**options: str | None) -> None:
    """Run a server until SIGTERM."""
    settings = load(options)
    from http_api.server.serve import serve  # imports the whole server, which help does not need

    serve(settings)
