"""Ports: free ones are low and usable, a taken one is named with who holds it."""

import os
import socket

import pytest

from deploy.errors import PortTakenError
from deploy.local import ports


def test_a_free_port_can_be_listened_on_and_is_below_those_the_kernel_hands_out() -> None:
    port = ports.free_port()
    assert ports.LOWEST <= port < 32768
    with socket.create_server(("127.0.0.1", port)):
        assert not ports.is_free(port)


def test_a_free_port_is_none_of_those_to_avoid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LOWEST", ports.HIGHEST - 2)
    monkeypatch.setattr(ports, "is_free", lambda port, host: True)
    assert ports.free_port({ports.HIGHEST - 2}) == ports.HIGHEST - 1


def test_a_taken_port_is_an_error_that_names_port_holder_and_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTakenError) as caught:
            ports.require_free(port, "broker", "--kafka-port")
    text = str(caught.value)
    assert f"port {port} for the broker is taken" in text
    assert f"pid {os.getpid()}" in text
    assert "--kafka-port" in text
    assert "--free-ports" in text
