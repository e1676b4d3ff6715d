"""`emdsl docs`: the manual of this version, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command("docs")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Write the pages here as Markdown instead."
)
def command(output: Path | None) -> int:
    """Open the manual of the installed version in a browser. It needs no network.

    \b
    Examples:
      emdsl docs
      emdsl docs -o manual/
    """
    from emdsl.manual.html import one_page  # noqa: PLC0415 - reads the whole package
    from emdsl.manual.pages import INDEX, as_one_text, manual  # noqa: PLC0415 - reads the whole package

    pages = manual(help_texts())
    if output is not None:
        for name, text in {**pages, "llms.txt": pages[INDEX], "llms-full.txt": as_one_text(pages)}.items():
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(text, encoding="utf-8")
        console.say(f"{len(pages)} pages in {output}")
        return 0
    page = Path(click.get_app_dir("emdsl")) / f"manual-{__version__}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(one_page(pages, __version__), encoding="utf-8")
    console.say(str(page))
    click.launch(page.as_uri())
    return 0


def help_texts() -> dict[str, str]:
    """Return the help text of every verb, by its call: `emdsl cache drop`."""
    from emdsl.cli.main import cli  # noqa: PLC0415 - the group that this verb belongs to

    context = click.Context(cli, info_name="emdsl", max_content_width=100, terminal_width=100, **cli.context_settings)
    return dict(_walk(cli, context))


def _walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _walk(child, click.Context(child, parent=context, info_name=name))
