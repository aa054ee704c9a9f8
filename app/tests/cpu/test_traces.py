"""A sample that is rejected has one trace id in the journals of its agent and of the server."""

import json
import socket
from pathlib import Path

from frota.core import trace
from support import TIMEOUT_S, read_all
from support.agent import FakeServer
from support.journal import journal, logged

RUN = "ab" * 16


def test_server_logs_the_trace_id_of_a_malformed_sample(tmp_path: Path) -> None:
    """A malformed sample with a number is logged with the trace id that run and number give."""
    serve = ("cpu", "serve", "--host", "127.0.0.1", "--port", 0, "--state-dir", tmp_path / "server")
    with journal(tmp_path) as records, logged(*serve):
        with socket.create_connection(("127.0.0.1", records.port()), TIMEOUT_S) as connection:
            hello = {"host": "web-1", "run": RUN, "interval": 1.0}
            for message in ({"hello": hello}, {"n": 5, "cpu": ["odd"], "mean": 1.0}):
                connection.sendall(json.dumps({"frota": 1} | message).encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
        logged_id = records.wait_for(
            lambda fields: fields["FROTA_EVENT"] == ["message_malformed"] and fields["TRACE_ID"], "rejection"
        )
    assert logged_id == [trace.derive(RUN, 5)]


def test_agent_logs_the_trace_id_of_a_rejected_sample(tmp_path: Path) -> None:
    """An agent whose sample is rejected logs the trace id that its run and the number give."""
    with journal(tmp_path) as records, FakeServer() as server:
        flags = ("--port", server.port, "--state-dir", tmp_path / "agent", "--interval", 0.1, "--metrics-port", 0)
        with logged("cpu", "agent", "--host", "127.0.0.1", *flags):
            peer = server.accept()
            run = peer.hello()["run"]
            peer.send(error="amostra inválida", n=peer.sample()["n"])
            logged_id = records.wait_for(
                lambda fields: fields["FROTA_EVENT"] == ["connection_rejected"] and fields["TRACE_ID"], "rejection"
            )
    assert logged_id == [trace.derive(run, 1)]
