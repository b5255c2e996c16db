"""What may be connected to: tested with real names and sockets; nothing leaves the machine."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from download.bad_server import Server, content, redirect
from download.samples import config

from bbqrec_core.download.failures import FailedDownload
from bbqrec_core.download.guard import GuardedNetwork, is_public
from bbqrec_core.download.network import Client


def fetch(url, **fields):
    async def ask():
        async with Client(config(**fields)) as client, client.get(url) as answer:
            return await answer.aread()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%lo", "fc00::1", "fec0::1", "ff02::1"),
        *("192.0.0.9", "192.0.0.10", "192.0.0.192", "192.88.99.1", "168.63.129.16"),
        *("::ffff:168.63.129.16", "64:ff9b::a83f:8110", "2002:a83f:8110::", "64:ff9b::c000:a", "::ffff:192.88.99.1", "2002:c000:9::"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2001:db8::1"),
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "132.239.8.30", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "10.0.0.1", "169.254.169.254"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1]", "[fc00::1]"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_hosts_that_are_not_public_are_never_connected_to(host, scheme, server):
    server.answers["secret"] = content(b"secret")
    with pytest.raises(FailedDownload, match=r"not public|no address") as refused:  # httpx itself refuses octal forms
        fetch(f"{scheme}://{host}:{server.port}/secret", allow_private_addresses=False)
    assert not refused.value.again
    with pytest.raises(FailedDownload, match="not public"):
        asyncio.run(GuardedNetwork(allow_private=False).connect_tcp(host.strip("[]"), server.port))
    assert not server.asked


def test_a_profile_may_allow_them(server):
    server.answers["file"] = content(b"content")
    assert fetch(server.url("file")) == b"content"
    assert fetch(f"http://localhost:{server.port}/file") == b"content"


@pytest.mark.parametrize("target", ["http://10.0.0.1/x", "http://localhost:1/x", "http://[::ffff:169.254.169.254]/latest", "//127.0.0.1/x"])
def test_a_redirect_is_checked_again(target, server, monkeypatch):
    # The first host has to be let through to be able to redirect. Which addresses are public is all that is changed: not how it is asked.
    from bbqrec_core.download import guard

    real = guard.is_public
    monkeypatch.setattr(guard, "is_public", lambda address: real(address) or (address == "127.0.0.1" and not server.asked))
    server.answers["start"] = redirect(target)
    with pytest.raises(FailedDownload, match="not public"):
        fetch(server.url("start"), allow_private_addresses=False)
    assert server.asked == {"start": 1}


def test_what_was_checked_is_what_is_connected_to(server, monkeypatch):
    """A name that resolves to something else the next time gains nothing: it is resolved once."""
    answers = iter(["127.0.0.1", "10.0.0.1"])
    resolved = []
    real = asyncio.base_events.BaseEventLoop.getaddrinfo

    async def rebinding(self, host, port, **more):
        if host == "rebinding.test":
            resolved.append(host)
            host = next(answers)
        return await real(self, host, port, **more)

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", rebinding)
    server.answers["file"] = content(b"content")
    assert fetch(f"http://rebinding.test:{server.port}/file") == b"content"
    assert resolved == ["rebinding.test"]


def test_a_name_with_one_private_address_is_not_trusted(monkeypatch):
    async def both(self, host, port, **more):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", both)
    with pytest.raises(FailedDownload, match=r"mixed.test is 10.0.0.1"):
        asyncio.run(GuardedNetwork(allow_private=False).connect_tcp("mixed.test", 80))


def test_another_address_of_the_host_is_tried(server, monkeypatch):
    async def two(self, host, port, **more):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", two)
    server.answers["file"] = content(b"content")
    assert fetch(f"http://two.test:{server.port}/file") == b"content"


def test_no_proxy_goes_round_the_guard(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, server.url(""))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(FailedDownload, match="not public"):
        fetch("http://10.0.0.1/x", allow_private_addresses=False)
    assert not server.asked


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.com/x", "gopher://x/", "example.com/x", "", "http://", "http://x:port/", "data:,x"]
)
def test_only_http_addresses_are_fetched(url):
    with pytest.raises(FailedDownload, match=r"only http and https|no address"):
        fetch(url)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("file:///etc/passwd", "only http"),
        ("ftp://127.0.0.1/", "only http"),
        ("http://\xff\x00/", "no "),
        ("//[", "no "),
        ("http://\u00fc\u00fc..x/", "no "),
        ("http://x:port/", "no sense"),
    ],
)
def test_a_redirect_to_something_else_is_refused(target, why, server):
    server.answers["start"] = redirect(target)
    with pytest.raises(FailedDownload, match=why):
        fetch(server.url("start"))


def test_redirects_are_followed_but_not_for_ever(server):
    server.answers |= {"a": redirect("/b"), "b": redirect("c", 308), "c": content(b"there"), "loop": redirect("/loop")}
    assert fetch(server.url("a")) == b"there"
    with pytest.raises(FailedDownload, match="more than 5 redirects"):
        fetch(server.url("loop"))
    assert server.asked["loop"] == 6


@pytest.fixture
def secure(server, tmp_path, monkeypatch):
    """The server speaks TLS as `localhost`, with a certificate that this machine trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    return server


def test_the_certificate_must_be_the_names_although_an_address_is_connected_to(secure, monkeypatch):
    secure.answers |= {"file": content(b"content"), "down": redirect(secure.url("file"))}
    assert fetch(f"https://localhost:{secure.port}/file") == b"content"
    for host, trusted in (("127.0.0.1", True), ("localhost", False)):
        if not trusted:
            monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(FailedDownload, match="certificate is not valid") as refused:
            fetch(f"https://{host}:{secure.port}/file")
        assert not refused.value.again


def test_a_redirect_does_not_leave_https(secure):
    secure.answers["down"] = redirect("http://localhost/file")
    with pytest.raises(FailedDownload, match="from https to http"):
        fetch(f"https://localhost:{secure.port}/down")


def test_a_name_that_does_not_exist_and_a_port_that_is_closed():
    with pytest.raises(FailedDownload, match="cannot be resolved") as unknown:
        fetch("http://nothing.invalid/x")
    closed = Server()
    closed.stop()
    with pytest.raises(FailedDownload, match="connection failed") as refused:
        fetch(closed.url("x"))
    assert unknown.value.again and refused.value.again


def test_the_network_layer_is_what_the_installed_httpcore_asks_for():
    """Were a method renamed, connections would no longer come through the guard, but fail: httpcore's own have no other way."""
    asked = {name for name in vars(httpcore.AsyncNetworkBackend) if not name.startswith("_")}
    assert asked == {"connect_tcp", "connect_unix_socket", "sleep"}
