"""Makes docs/protocol-vectors.json: tokens, and what a backend must think of each.

    python -m tests.backend.vectors >docs/protocol-vectors.json

Good ones are made by fastproxy's own code, with the clock and the nonces fixed.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jwt

from fastproxy.claims import Signer
from fastproxy.protocol import AUTHORIZE, NATIVE, UPLOAD, body_hash
from fastproxy.uploads.report import StoredUpload, report
from fastproxy.uploads.report import told as hear
from tests.backend.form_vectors import ABOUT as ABOUT_FORMS
from tests.backend.form_vectors import FormMaker

ABOUT = (
    "Judge each case as the endpoint `purpose` would judge a request of `method` to `path` (decoded"
    " once) with this token and body, at the time `now`, with both secrets known and the tokens in"
    " `spent` used before, where at most `max_size` bytes are allowed. `refusal` null: believed,"
    " with these claims. Each of the others has one fault, which `refusal` names; any refusal will"
    " do. See docs/protocol.md."
)
NOW = 1795422512
SECRETS = (bytes(range(32)), b"the one before, which still counts")
STRANGER = b"a secret of somebody else, as long"
ASKED, REPORTED = "/uploads/a.txt/authorize", "/uploads/a.txt"
MADE_OF = {
    "id": "42",
    "store": "default",
    "key": "incoming/1",
    "path": "/srv/store/incoming/1",
    "size": 14,
    "etag": "16401d-18ea9f434424aff6-e",
    "hashes": {"sha256": "d9014c4624844aa5bac314773d6b689ad467fa4e1d1a50a1b8a99d5a95f72ff5"},
    "content_type": "text/plain",
    "parts": 1,
    "duration": 0.007355,
}
STORED = StoredUpload(**MADE_OF)
IN_S3 = StoredUpload(**{**MADE_OF, "store": "bucket", "path": "", "hashes": {}, "parts": 3})
PRESIGNED = StoredUpload(**{**MADE_OF, "store": "", "path": "", "id": "ü" * 1024})
LARGEST = StoredUpload(**{**MADE_OF, "size": 5 << 40, "parts": 10_000})
Case = dict[str, Any]


def signer(secret: bytes = SECRETS[0]) -> Signer:
    return Signer(secret, "fastproxy", 60, clock=lambda: NOW - 1)


def case(name: str, purpose: str, path: str, token: str | None, **more: Any) -> Case:
    asks = purpose == AUTHORIZE
    return {
        "name": name,
        "purpose": purpose,
        "method": "PUT",
        "path": path,
        "token": token,
        "body": None if asks else "",
        "spent": [],
        "max_size": None,
        "refusal": None,
        **more,
    }


def question(name: str, path: str = ASKED, *, claimed: str = REPORTED, **more: Any) -> Case:
    """A good one. `more`: `length`, `content_type`, `secret`, and fields of the case."""
    told = {"length": more.pop("length", None), "content_type": more.pop("content_type", "")}
    token = signer(more.pop("secret", SECRETS[0])).sign(
        AUTHORIZE, more.get("method", "PUT").encode(), claimed, **told
    )
    return case(name, AUTHORIZE, path, token.decode(), **more)


def told(name: str, upload: StoredUpload = STORED, path: str = REPORTED, **more: Any) -> Case:
    """A good report. `more`: `secret`, and fields of the case."""
    method = more.get("method", "PUT").encode()
    body, lines = report(upload, signer(more.pop("secret", SECRETS[0])), method, path)
    token = lines.split(b"Fastproxy-Upload: ")[1].strip().decode()
    return case(name, UPLOAD, path, token, **{"body": body.decode(), **more})


def good() -> Iterator[Case]:
    yield question("a question of unknown length")
    yield question("a question of known length", length=14, content_type="text/plain")
    yield question("a question about nothing", length=0)
    yield question("a question as large as allowed", length=14, max_size=14)
    yield question("a question with the secret before", secret=SECRETS[1])
    yield question("a POST", method="POST")
    yield question("the suffix comes in place of a last slash", claimed="/uploads/a.txt/")
    yield question("a path beyond ASCII", "/uploads/ä b%41/authorize", claimed="/uploads/ä b%41")
    yield told("a report of a local store")
    yield told("a report of an object store", IN_S3)
    yield told("a report of presigned URLs, with the longest id", PRESIGNED)
    yield told("a report of the largest object", LARGEST)
    yield told("a report as large as allowed", max_size=14)
    yield told("a report with the secret before", secret=SECRETS[1])
    yield told("a report to a path with a last slash", path="/uploads/a.txt/")
    yield told("a report beside other tokens", spent=["another"])
    yield signed("claims that are not known yet", future={"a": 1})


def claims_of(purpose: str) -> dict[str, Any]:
    common = {
        "iss": "fastproxy",
        "aud": purpose,
        "iat": NOW - 1,
        "exp": NOW + 59,
        "jti": "fw2_CYdbxcPzuC8Q7LFP81rM",
        "method": "PUT",
        "path": REPORTED,
    }
    if purpose == AUTHORIZE:
        return {**common, "length": None, "content_type": ""}
    return {**common, "body_sha256": body_hash(BODY), "upload": hear(STORED, NATIVE)}


BODY = json.dumps({"upload": hear(STORED, NATIVE)}, separators=(",", ":")).encode()
ABSENT: Any = object()


def encoded(claims: dict[str, Any], secret: bytes = SECRETS[0], algorithm: str = "HS256") -> str:
    kept = {name: value for name, value in claims.items() if value is not ABSENT}
    return jwt.encode(kept, secret, algorithm=algorithm)


def signed(name: str, refusal: str | None = None, purpose: str = UPLOAD, **changes: Any) -> Case:
    """A case whose token is signed, with `changes` to honest claims."""
    path = ASKED if purpose == AUTHORIZE else REPORTED
    token = encoded({**claims_of(purpose), **changes})
    body = None if purpose == AUTHORIZE else BODY.decode()
    return case(name, purpose, path, token, body=body, refusal=refusal)


def report_with(name: str, refusal: str, **more: Any) -> Case:
    """A case of a good token in a bad place."""
    honest = signed(name, refusal)
    return {**honest, **more}


def bad() -> Iterator[Case]:
    yield from bad_tokens()
    yield from bad_claims()
    yield from bad_places()
    for field, value in {
        "size": "14",
        "hashes": ["sha256"],
        "path": None,
        "key": 7,
    }.items():
        upload = {**hear(STORED, NATIVE), field: value}
        yield signed(f"upload.{field} of a wrong kind", "malformed", upload=upload)
    yield signed("a negative size", "malformed", upload={**hear(STORED, NATIVE), "size": -1})
    yield signed("a size that is true", "malformed", upload={**hear(STORED, NATIVE), "size": True})
    yield signed("no upload", "malformed", upload=ABSENT)
    yield signed("a length of a wrong kind", "malformed", AUTHORIZE, length="14")


def bad_tokens() -> Iterator[Case]:
    honest = claims_of(UPLOAD)
    token = encoded(honest)
    head, payload, signature = token.split(".")
    larger = {**honest, "upload": {**hear(STORED, NATIVE), "size": 15}}
    for name, refusal, made in (
        ("no token", "missing", None),
        ("an empty token", "missing", ""),
        ("no JWT", "malformed", "nonsense"),
        ("a JWT without signature", "malformed", f"{head}.{payload}"),
        ("an empty signature", "signature", f"{head}.{payload}."),
        ("two tokens in one field", "malformed", f"{token}, {token}"),
        ("claims changed", "signature", f"{head}.{encoded(larger).split('.')[1]}.{signature}"),
        ("the secret of somebody else", "signature", encoded(honest, STRANGER)),
        ("algorithm none", "signature", jwt.encode(honest, None, algorithm="none")),
        ("algorithm none, with a signature", "signature", with_head("none", token)),
        ("algorithm RS256, keyed with our secret", "signature", with_head("RS256", token)),
        ("algorithm HS512", "signature", encoded(honest, SECRETS[0] * 2, "HS512")),
    ):
        yield case(name, UPLOAD, REPORTED, made, body=BODY.decode(), refusal=refusal)


def with_head(algorithm: str, token: str) -> str:
    """The token with another algorithm in its head, rightly signed with HS256."""
    head = json.dumps({"alg": algorithm, "typ": "JWT"}).encode()
    signing_input = _base64(head) + "." + token.split(".")[1]
    key = jwt.get_algorithm_by_name("HS256")
    return signing_input + "." + _base64(key.sign(signing_input.encode(), SECRETS[0]))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bad_claims() -> Iterator[Case]:
    yield signed("another issuer", "issuer", iss="somebody")
    yield signed("no issuer", "issuer", iss=ABSENT)
    yield signed("a question's token", "purpose", aud=AUTHORIZE)
    yield signed("a report's token", "purpose", AUTHORIZE, aud=UPLOAD)
    yield signed("two purposes", "purpose", aud=[UPLOAD, AUTHORIZE])
    yield signed("no purpose", "purpose", aud=ABSENT)
    yield signed("expired an hour ago", "expired", exp=NOW - 3600)
    yield signed("a question that has expired", "expired", AUTHORIZE, exp=NOW - 3600)
    yield signed("no expiry", "malformed", exp=ABSENT)
    yield signed("an expiry that is text", "malformed", exp=str(NOW + 59))
    yield signed("signed an hour hence", "early", iat=NOW + 3600, exp=NOW + 7200)
    yield signed("no time of signing", "malformed", iat=ABSENT)
    yield signed("no nonce", "malformed", jti=ABSENT)
    yield signed("a nonce that is a number", "malformed", jti=7)
    yield signed("another method", "request", method="POST")
    yield signed("a method in other letters", "request", method="put")
    yield signed("no method", "malformed", method=ABSENT)
    yield signed("another path", "request", path="/uploads/b.txt")
    yield signed("a path that begins the same", "request", path="/uploads/a.txt.exe")
    yield signed("a path in other letters", "request", path="/uploads/A.txt")
    yield signed("a path with a last slash", "request", path="/uploads/a.txt/")
    yield signed("another path asked", "request", AUTHORIZE, path="/uploads/b.txt")
    yield signed("the suffix in the claim", "request", AUTHORIZE, path=ASKED)
    yield signed("no path", "malformed", path=ABSENT)
    yield signed("no digest of the body", "body", body_sha256=ABSENT)
    yield signed("another digest", "body", body_sha256=body_hash(b""))
    yield signed("a digest in upper case", "body", body_sha256=body_hash(BODY).upper())


def bad_places() -> Iterator[Case]:
    yield report_with("a body that was changed", "body", body=BODY.decode() + " ")
    yield report_with("no body", "body", body="")
    yield report_with("a path with two slashes", "request", path="/uploads//a.txt")
    yield report_with("a path that is decoded no more", "request", path="/uploads/%61.txt")
    yield report_with("used before", "replayed", spent=["fw2_CYdbxcPzuC8Q7LFP81rM"])
    yield report_with("larger than allowed", "too-large", max_size=13)
    ask = signed("asked before", "replayed", AUTHORIZE)
    yield {**ask, "spent": ["fw2_CYdbxcPzuC8Q7LFP81rM"]}
    large = signed("asked for more than is allowed", "too-large", AUTHORIZE, length=15)
    yield {**large, "max_size": 14}
    yield {**signed("asked at the path of reports", "request", AUTHORIZE), "path": REPORTED}


def with_claims(made: Case) -> Case:
    """A good case says what is in its token."""
    if made["refusal"] is not None:
        return made
    return {**made, "claims": jwt.decode(made["token"], options={"verify_signature": False})}


def document() -> str:
    """The file."""
    nonces = (f"nonce-{number}" for number in range(1000))
    with mock.patch("secrets.token_urlsafe", side_effect=nonces):
        cases = [with_claims(made) for made in (*good(), *bad())]
        with mock.patch("secrets.token_hex", side_effect=map("{:032x}".format, range(100))):
            forms = list(FormMaker(signer(), STORED).cases())
    whole = {
        "about": ABOUT,
        "now": NOW,
        "issuer": "fastproxy",
        "authorize_suffix": "/authorize",
        "secret_files": [_secret_file(secret) for secret in SECRETS],
        "cases": cases,
        "about_forms": ABOUT_FORMS,
        "forms": forms,
    }
    return json.dumps(whole, indent=1, ensure_ascii=True) + "\n"


def _secret_file(secret: bytes) -> str:
    text = base64.b64encode(secret).decode() if len(secret) == 32 else secret.decode()
    return text + "\n"


if __name__ == "__main__":
    print(document(), end="")
