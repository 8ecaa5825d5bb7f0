"""The entry point `lunet-export`. It installs signal handlers first: importing the commands takes a second."""

from lunet_cli import signals


def main() -> None:
    """Run the command line."""
    signals.prepare()
    try:
        from lunet_cli.main import main as run
    except ImportError as error:  # a package that every command needs is broken
        said = " ".join(str(error).split())
        signals.say_and_leave(
            f"Expected {error.name or 'a package'} to be imported; {said}. Install lunet-export again.", 2
        )
    run()
