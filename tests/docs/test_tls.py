"""Every configuration of docs/tls.md, served as printed."""

import ssl
from pathlib import Path

import pytest
import trustme

from tests.docs.shell import Block, blocks
from tests.support.harness import proxy
from tests.support.tls import TlsClient

CONFIGURATIONS = [block for block in blocks("toml") if block.document == "docs/tls.md"]
LISTENERS = [block for block in CONFIGURATIONS if "[[listener]]" in block.text]
PREFACE = b"PROXY TCP4 203.0.113.7 198.51.100.1 1 443\r\n"


@pytest.mark.parametrize("block", LISTENERS, ids=range(len(LISTENERS)))
def test_a_listener_of_the_document_works(block: Block, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    clients = trustme.CA()
    files = {
        "fullchain.pem": issued.cert_chain_pems[0],
        "privkey.pem": issued.private_key_pem,
        "clients.pem": clients.cert_pem,
    }
    text = block.text
    for name, blob in files.items():
        blob.write_to_path(str(tmp_path / name))
        (tmp_path / name).chmod(0o600)
        text = text.replace(f'"{name}"', f'"{tmp_path / name}"')
    _, _, text = text.partition("[[listener]]")  # the harness has a [server] of its own
    text = text.replace("127.0.0.1:8443", "127.0.0.1:PORT")
    fixed = '[[route]]\naction = "fixed"\nbody = "hello"\n[[listener]]'
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    if "client_ca_file" in text:
        clients.issue_cert("alice@example.com").configure_cert(context)
    before = PREFACE if "proxy_protocol_from" in text else b""
    with proxy(fixed + text) as front:
        with TlsClient(front.port, context, before=before) as client:
            assert client.get().body == b"hello"
        (line,) = front.logged(1)
        assert line["remote_ip"] == ("203.0.113.7" if before else "127.0.0.1")


def test_all_kinds_of_listeners_are_among_them() -> None:
    texts = [block.text for block in LISTENERS]
    assert sum("client_ca_file" in text for text in texts) == 1
    assert sum("proxy_protocol_from" in text for text in texts) == 1
    assert len(texts) == 3
