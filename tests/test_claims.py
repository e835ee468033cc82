"""Tokens are good for one purpose, one request and a minute."""

import jwt
import pytest

from fastproxy.claims import Signer
from fastproxy.protocol import AUTHORIZE, UPLOAD, body_hash

SECRET = b"s" * 40


def test_a_token_says_what_it_is_for() -> None:
    token = Signer(SECRET, "fastproxy", 60, clock=lambda: 1000.9).sign(
        UPLOAD, b"PUT", "/a b", body_sha256="x"
    )
    options = {"verify_exp": False, "verify_iat": False}
    told = jwt.decode(
        token, SECRET, algorithms=["HS256"], audience="fastproxy-upload", options=options
    )
    assert told.pop("jti")
    assert told == {
        "iss": "fastproxy",
        "aud": "fastproxy-upload",
        "iat": 1000,
        "exp": 1060,
        "method": "PUT",
        "path": "/a b",
        "body_sha256": "x",
    }


def test_no_two_tokens_are_the_same() -> None:
    signer = Signer(SECRET, "fastproxy", 60)
    tokens = {signer.sign(AUTHORIZE, b"PUT", "/") for _ in range(100)}
    assert len(tokens) == 100


def test_a_token_of_one_purpose_does_not_serve_the_other() -> None:
    token = Signer(SECRET, "fastproxy", 60).sign(AUTHORIZE, b"PUT", "/")
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, SECRET, algorithms=["HS256"], audience=UPLOAD)


def test_another_secret_does_not_verify() -> None:
    token = Signer(SECRET, "fastproxy", 60).sign(AUTHORIZE, b"PUT", "/")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, b"t" * 40, algorithms=["HS256"], audience=AUTHORIZE)


def test_the_hash_of_a_body_is_its_sha256() -> None:
    assert body_hash(b"").startswith("e3b0c44298fc1c149afbf4c8996fb924")
