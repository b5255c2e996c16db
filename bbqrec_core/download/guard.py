"""Which addresses may be connected to: a network layer below HTTP that resolves names itself and connects to what it has checked.

Pictures' addresses come from data that anybody may have written. Without a guard one of them, or a redirect, could have this machine ask
its own services, its neighbours', or a cloud's metadata service (server-side request forgery). Checking the name before the request would
not do: a name may resolve to something else the next moment. Nothing of HTTP belongs here.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable

import httpcore

from bbqrec_core.download.failures import FailedDownload

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that a network translates to the IPv4 address in their last four bytes (RFC 6052)."""
REFUSED = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "192.0.0.0/24",  # protocols' own (RFC 6890): Oracle's cloud has its metadata service there; Python takes two of them for global
        "192.88.99.0/24",  # relays of 6to4, given up (RFC 7526)
        "168.63.129.16/32",  # Azure's service for its machines, a public address that never leaves the host
    )
)
"""Addresses that count as public, and are not of the public internet."""


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only.

    Every connection of a client comes through here, those of redirects too; a connection that is used again was checked when it was made.

    Args:
        allow_private: Connect to any address.
        setting: The field of `source.download` that allows it, for the message of a refusal.
    """

    def __init__(self, allow_private: bool, setting: str = "allow_private_addresses") -> None:
        self._allow_private = allow_private
        self._setting = setting
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the host's addresses that answers.

        Raises:
            FailedDownload: The name cannot be resolved, or any of its addresses is not public: which one a connection gets is not ours to
                choose in general, so a name of which one is private is not trusted at all.
        """
        addresses = await _resolve(host, port, timeout)
        if not self._allow_private:
            for address in addresses:
                if not is_public(address):
                    raise FailedDownload(
                        "the address is private, loopback or otherwise not public",
                        host if host == address else f"{host} is {address}",
                        way_out=f"If it is meant, allow it: --set source.download.{self._setting}=true",
                    )
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait, as the connection pool asks for it."""
        await asyncio.sleep(seconds)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, and so is any IPv4 address within it."""
    ip = ipaddress.ip_address(address)
    if not ip.is_global or ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return _is_public_nat64(ip)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in REFUSED)
    if ip.is_site_local:
        return False
    inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    return _is_public_nat64(ip) if ip in NAT64 else all(is_public(str(one)) for one in inner if one is not None)


def _is_public_nat64(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Python's versions differ in what they think of NAT64's addresses: what counts is the IPv4 address within."""
    return isinstance(ip, ipaddress.IPv6Address) and ip in NAT64 and is_public(str(ipaddress.IPv4Address(ip.packed[-4:])))


async def _resolve(host: str, port: int, timeout: float | None) -> list[str]:
    """The host's addresses, as the system's resolver gives them: it also understands 127.1, 0x7f000001 and 2130706433."""
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore.ConnectTimeout(f"resolving {host} took too long") from None
    except (socket.gaierror, UnicodeError) as error:
        raise FailedDownload("the host's name cannot be resolved", f"{host}: {error}", again=True) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise FailedDownload("the host's name cannot be resolved", host, again=True)
    return addresses
