"""Connections to the far end, and the host's own addresses."""

import ipaddress
import socket

from agent.egress.remote import is_own, open_connection


def test_the_hosts_own_addresses_are_recognised_in_each_form() -> None:
    for address in ("127.0.0.1", "127.7.7.7", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "0.0.0.0"):
        assert is_own(ipaddress.ip_address(address))
    for address in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"):
        assert not is_own(ipaddress.ip_address(address))


async def test_small_messages_do_not_wait_for_larger_ones(echo: int) -> None:
    _, writer = await open_connection(ipaddress.ip_address("127.0.0.1"), echo)
    assert writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()
    await writer.wait_closed()
