import socket

import pytest


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    """No test reaches a network; what aeon would download goes to a temporary folder."""

    def refuse(*_, **__):
        raise OSError("the network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("AEON_DATA", str(tmp_path / "aeon_data"))
