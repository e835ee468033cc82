"""Rules on what listeners ask of their clients: networks, certificates, authorities."""

import ipaddress
import os
import ssl
import time
from collections.abc import Iterator, Sequence

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, Severity
from fastproxy.config.rules.places import authorities, exposure
from fastproxy.config.schema import Certificate, Config, Listener
from fastproxy.tls import CertificateFiles, describe, server_context


def check_listener_tables(config: Config, source: Source) -> Iterator[Problem]:
    """Each is about an address that is listened on, and what it names can be used."""
    seen: set[str] = set()
    for at, listener in enumerate(config.listener):
        key = ("listener", at)
        if listener.address not in config.server.listen:
            hint = f"one of: {', '.join(config.server.listen)}"
            message = f'"{listener.address}" is not among the addresses of server.listen'
            yield source.problem((*key, "address"), message, hint)
        elif listener.address in seen:
            yield source.problem((*key, "address"), f'"{listener.address}" has two tables')
        seen.add(listener.address)
        yield from networks(source, (*key, "proxy_protocol_from"), listener.proxy_protocol_from)
        yield from _tls(source, key, listener)


def networks(source: Source, key: KeyPath, texts: Sequence[str]) -> Iterator[Problem]:
    """They are CIDRs; trusting everybody is said aloud."""
    for at, text in enumerate(texts):
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            yield source.problem((*key, at), f"{error}", 'write a network like "10.0.0.0/8"')
            continue
        if network.prefixlen == 0:
            message = f"{text} lets every client choose the address it seems to come from"
            yield source.problem((*key, at), message, severity=Severity.WARNING)


def _tls(source: Source, key: KeyPath, listener: Listener) -> Iterator[Problem]:
    if listener.client_ca_file and not listener.certificate:
        message = "without a certificate of our own there is no TLS in which to ask for theirs"
        yield source.problem((*key, "client_ca_file"), message)
    yield from authorities(source, (*key, "client_ca_file"), listener.client_ca_file)
    for at, certificate in enumerate(listener.certificate):
        yield from _certificate(source, (*key, "certificate", at), certificate)


def _certificate(source: Source, key: KeyPath, certificate: Certificate) -> Iterator[Problem]:
    cert, secret = certificate.cert_file, certificate.key_file or certificate.cert_file
    try:
        server_context(CertificateFiles(cert, secret))
        expires = ssl.cert_time_to_seconds(describe(cert)["notAfter"])
    except ssl.SSLError as error:
        message = f'"{cert}" and "{secret}" are no certificate and its key'
        yield source.problem(
            (*key, "cert_file"), message, (error.reason or "").lower().replace("_", " ")
        )
    except OSError as error:
        yield from _unreadable(source, key, cert, certificate.key_file, error)
    else:
        if expires < time.time():
            message = f'"{cert}" has expired: clients will refuse it'
            yield source.problem((*key, "cert_file"), message, severity=Severity.WARNING)
        yield from exposure(source, (*key, "key_file"), secret)


def _unreadable(
    source: Source, key: KeyPath, cert: str, secret: str, error: OSError
) -> Iterator[Problem]:
    """Which of the two it is; OpenSSL does not say."""
    for name, path in (("cert_file", cert), ("key_file", secret)):
        if cert and path and not os.access(path, os.R_OK):
            reason = "cannot be read" if os.path.exists(path) else "does not exist"
            yield source.problem((*key, name), f'"{path}" {reason}')
            return
    yield source.problem((*key, "cert_file"), f"cannot be used: {error}")
