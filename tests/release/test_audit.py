"""`make audit` is clean where a service knows of nothing, and fails where it knows of something, or is not there."""

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import ROOT

KNOWN = {
    "id": "PYSEC-0000-1",
    "summary": "planted",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [{"package": {"ecosystem": "PyPI", "name": "typer"}, "versions": ["0.29.2"]}],
}


@pytest.fixture
def service():
    """A service that speaks OSV's protocol, on this machine; `known` holds what it knows, by package."""
    known: dict[str, dict] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked["package"]["name"]
            self.server.asked.add(name)
            body = json.dumps({"vulns": [known[name]]} if name in known else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.known, server.asked = known, set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def audit(port: int) -> subprocess.CompletedProcess:
    """The command of the Makefile over the pins; what is installed is the same by another list."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    (line,) = (line for line in lines if "pip-audit --strict" in line)
    command = line.strip().removeprefix("$(VENV)-release/bin/pip-audit").partition(" -r $(VENV)")[0]
    arguments = command.replace("$(AUDIT_ARGS)", f"-s osv --osv-url http://127.0.0.1:{port}/v1/query").split()
    tool = ROOT / ".venv-release" / "bin" / "pip-audit"
    assert shutil.which(tool)
    return subprocess.run([tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_pins_of_which_nothing_is_known_are_clean(service):
    done = audit(service.server_port)
    assert (done.returncode, "No known vulnerabilities found" in done.stderr) == (0, True), done
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert service.asked == {line.partition("==")[0].lower().replace("_", "-") for line in pins if "==" in line}


def test_a_vulnerable_pin_fails(service):
    service.known["typer"] = KNOWN
    done = audit(service.server_port)
    assert (done.returncode, "PYSEC-0000-1" in done.stdout) == (1, True), done


def test_without_a_service_nothing_is_called_clean(service):
    port = service.server_port
    service.shutdown()
    service.server_close()
    done = audit(port)
    assert done.returncode != 0
    assert "No known vulnerabilities" not in done.stdout + done.stderr
