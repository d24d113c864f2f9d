"""After the install nothing touches the network.

The root conftest.py puts a guard up in this Python and in every one that is started from it: the kernels that
run the notebooks, the command line, JupyterLab's server. It refuses what would leave the machine, and fails
the test or the cell that tried, even if the refusal was swallowed. So each run of the notebooks is the proof;
these tests are the proof of the guard.
"""

import os
import socket
import subprocess
import sys
import threading
import urllib.request

import network_guard
import pytest
from test_execution import strict_run, write

from notebooks import execute

ELSEWHERE = "192.0.2.1"  # an address that is set aside for examples


@pytest.fixture
def log(monkeypatch, tmp_path):
    """Attempts are written here, and not to the file by which the root conftest.py would fail this test."""
    monkeypatch.setenv("GPTLIB_NETWORK_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


ATTEMPTS = {
    "connect": lambda: socket.create_connection((ELSEWHERE, 80), timeout=1),
    "connect_ex": lambda: socket.socket().connect_ex((ELSEWHERE, 80)),
    "a name": lambda: socket.getaddrinfo("example.com", 80),
    "a name, the old way": lambda: socket.gethostbyname("example.com"),
    "a datagram": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", (ELSEWHERE, 53)),
    "version 6": lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
    "a page": lambda: urllib.request.urlopen("http://example.com"),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_would_leave_the_machine_is_refused_and_noted(log, attempt):
    with pytest.raises(OSError, match="without a network"):
        ATTEMPTS[attempt]()
    assert log.read_text().startswith("socket.")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "::1", "127.1.2.3", "0.0.0.0", "", None, b"localhost"]
)
def test_the_machine_itself_is_allowed(host):
    assert network_guard.is_here(host)


@pytest.mark.parametrize(
    "host", ["example.com", ELSEWHERE, "10.0.0.1", "2001:db8::1", "localhost.example.com"]
)
def test_elsewhere_is_elsewhere(host):
    assert not network_guard.is_here(host)


def test_a_server_on_loopback_answers(log):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"))
        thread.start()
        with socket.create_connection(server.getsockname()) as client:
            assert client.recv(5) == b"hello"
        thread.join()
    assert not log.exists()


def test_a_program_started_by_a_test_is_guarded(log):
    code = f"import socket; socket.create_connection(({ELSEWHERE!r}, 80), timeout=1)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1 and "without a network" in run.stderr
    assert ELSEWHERE in log.read_text()


SWALLOWED = """import urllib.request
try:
    urllib.request.urlopen("http://example.com")
except OSError:
    print("no network")"""


def test_a_notebook_that_tries_is_found_out_though_it_goes_on(tmp_path):
    """Both by the strict run, which names the cell, and by `make notebooks`, which does not save it."""
    path = write(tmp_path / "online.ipynb", "1 + 1", SWALLOWED)
    with pytest.raises(RuntimeError, match=r"online\.ipynb reached for the network:\n.*example\.com"):
        execute.execute(path)
    outcomes, printed = strict_run(tmp_path)
    assert outcomes == {"online.ipynb::Cell 0": "PASSED", "online.ipynb::Cell 1": "FAILED"}
    assert "reached for the network" in printed and "'example.com'" in printed


@pytest.mark.parametrize("module", ["gptlib", "gptlib.cli", "gptlib.viz.figures"])
def test_importing_touches_no_network(log, module):
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=dict(os.environ))
    assert not log.exists()
