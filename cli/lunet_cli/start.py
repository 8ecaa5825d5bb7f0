"""The entry point `lunet-export`: the commands, which take a second to import, come when signals are in order."""

from lunet_cli import signals


def main() -> None:
    """Run the command line."""
    signals.prepare()
    try:
        from lunet_cli.main import main as run
    except ImportError as error:  # of a package that every command needs
        said = " ".join(str(error).split())
        signals.say_and_leave(
            f"Expected {error.name or 'a package'} to be imported; {said}. Install lunet-export again.", 2
        )
    run()
