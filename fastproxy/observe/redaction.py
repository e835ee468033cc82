"""Secrets out of text, for everything that goes to the error log.

Clients' paths are among it. So no pattern may begin anywhere in what it has read in vain: 8 KiB of
"a.a.a." took half a second, and while a worker writes its log it serves nobody.
"""

import re

REDACTED = "[redacted]"

_QUERY_KEYS = (
    r"X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)"
    r"|AWSAccessKeyId|Signature|sig|private_token|job_token|access_token|feed_token|rss_token"
    r"|token|password|secret"
)
_PATTERNS = (
    # key=value of a query or form
    (re.compile(rf"(?i)\b({_QUERY_KEYS})=[^&\s\"'<>,;)\]}}]+"), rf"\1={REDACTED}"),
    # header: value, as text, as a repr of bytes or in a dict
    (
        re.compile(
            r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-amz-security-token"
            r"|(?:private|job|deploy)-token)(['\"]?\s*[:=,]\s*b?)(?:'[^']*'|\"[^\"]*\"|[^\r\n]+)"
        ),
        rf"\1\2{REDACTED}",
    ),
    (re.compile(r"(?i)\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    # a JWT anywhere: base64url of '{"', and whatever segments follow
    (re.compile(r"\beyJ[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+"), REDACTED),
    # user:password@ of a URL
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,31}://)[^/\s@]+@"), rf"\1{REDACTED}@"),
)


def redact(text: str) -> str:
    """`text` with signatures, tokens, credentials and cookies replaced."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
