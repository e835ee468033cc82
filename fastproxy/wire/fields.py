"""Names of fields that mean something to a proxy, in lower case."""

from typing import Final

# RFC 9110 section 7.6.1, and Proxy-Connection, which browsers once sent.
HOP_BY_HOP: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
PRIVATE_PREFIX: Final = b"fastproxy-"
PRIVATE_TYPE: Final = b"application/vnd.fastproxy."
# Who a proxy in front says the client is; backends believe them, so only a trusted peer may.
CLAIM_PREFIX: Final = b"x-forwarded-"
CLAIMS: Final = (
    *(b"forwarded", b"x-forwarded", b"x-real-ip", b"client-ip", b"x-client-ip"),
    b"true-client-ip",
)
METHOD_OVERRIDES: Final = (b"x-http-method-override", b"x-http-method", b"x-method-override")
# From a backend to a proxy that would send the file: no client is to know where it lies.
FILES_TO_SEND: Final = (b"x-sendfile", b"x-lighttpd-send-file", b"x-accel-redirect")
# What begins so is from a backend to us, and no client's business.
CONTROL_PREFIXES: Final = (PRIVATE_PREFIX, b"gitlab-workhorse")
# By these a client would say how a backend names files to be sent (Rack, CVE-2025-61780).
FILES_TO_NAME: Final = (b"x-sendfile-type", b"x-accel-mapping")
