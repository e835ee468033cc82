"""Names of fields that mean something to a proxy, in lower case."""

from typing import Final

from fastproxy.protocol import DIALECTS

# RFC 9110 section 7.6.1, and Proxy-Connection, which browsers once sent.
HOP_BY_HOP: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
# What begins so is between a backend and us, whichever dialect this backend has: no client may send
# it, and none gets it. A token that leaked out of an answer was good for pushes (GitLab, HackerOne
# 1040786), and a permission holds what opens a store.
PRIVATE_PREFIXES: Final = tuple(each.prefix.lower().encode() for each in DIALECTS.values())
PRIVATE_TYPES: Final = tuple(each.private_types.encode() for each in DIALECTS.values())
# Who a proxy in front says the client is; backends believe them, so only a trusted peer may.
CLAIM_PREFIX: Final = b"x-forwarded-"
CLAIMS: Final = (
    *(b"forwarded", b"x-forwarded", b"x-real-ip", b"client-ip", b"x-client-ip"),
    b"true-client-ip",
)
METHOD_OVERRIDES: Final = (b"x-http-method-override", b"x-http-method", b"x-method-override")
# From a backend to a proxy that would send the file: no client is to know where it lies.
FILES_TO_SEND: Final = (b"x-sendfile", b"x-lighttpd-send-file", b"x-accel-redirect")
# By these a client would say how a backend names files to be sent (Rack, CVE-2025-61780).
FILES_TO_NAME: Final = (b"x-sendfile-type", b"x-accel-mapping")
