"""`lunet-export demo-page` and `lunet-export serve`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from lunet_cli import hints, output
from lunet_cli.options import Folder, Force, Json, Runtime
from lunet_cli.pipes import validate_not_stdout
from lunet_export import embedding


def demo_page(
    folder: Folder,
    target: Annotated[Path, Option("--output", "-o", help="Folder of the page.")] = Path("site"),
    runtime: Runtime = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a page that samples and scores a model.

    The page runs in the browser, from any static host. It shows images, or a scatter of other rows. A conditional
    flow has a slider for each number of its context.

    Example: lunet-export demo-page runs/digits-classes -o site
    """
    validate_not_stdout("-o", target)
    files = embedding.write_page(folder, target, runtime=runtime, force=force)
    size = sum((target / file).stat().st_size for file in files)
    if as_json:
        output.dump({"page": str(target), "bytes": size, "files": [str(file) for file in files]})
        return
    output.say(f"{target}: {len(files)} files, {size / 1e6:.1f} MB")
    hints.say("serve", str(target))


def serve(
    site: Annotated[Path, Argument(help="Folder of a page.")] = Path("site"),
    port: Annotated[int, Option(min=0, max=65535, help="Port of the server; 0 takes a free one.")] = 8000,
) -> None:
    """Show a page on localhost until Ctrl-C.

    Example: lunet-export serve site
    """
    try:
        server = embedding.site_server(site, port)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; give another --port", str(port)) from None
    with server:
        output.say(f"http://127.0.0.1:{server.server_port}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
