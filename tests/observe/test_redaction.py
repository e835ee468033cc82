import pytest

from fastproxy.observe.redaction import REDACTED, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.s3cr3tSignature-_"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://s3/b/k?X-Amz-Algorithm=A&X-Amz-Signature=s3cr3t&x=1",
        "x-amz-credential=s3cr3t%2F2026",
        "X-Amz-Security-Token=s3cr3t//==",
        "https://acct.blob/c?sv=1&sig=s3cr3t%3D",
        "https://gcs/b?X-Goog-Signature=s3cr3t",
        "https://s3/b?AWSAccessKeyId=s3cr3t&Signature=s3cr3t",
        "/api?private_token=s3cr3t",
        "/api?job_token=s3cr3t&ok=1",
        "Authorization: Bearer s3cr3t-token-of-some-length",
        "authorization: s3cr3t and more",
        "headers [(b'Authorization', b'Basic s3cr3t')]",
        "{'Authorization': 'AWS4-HMAC-SHA256 Credential=s3cr3t'}",
        '{"Cookie": "session=s3cr3t"}',
        "Set-Cookie: session=s3cr3t; HttpOnly",
        "PRIVATE-TOKEN: s3cr3t",
        "Job-Token: s3cr3t",
        "Bearer s3cr3ts3cr3t",
        f"token was {JWT}",
        f"Gitlab-Workhorse-Api-Request: {JWT}",
        f"glpat-{JWT}",
        "postgres://user:s3cr3t@host/db",
    ],
)
def test_secrets_are_replaced(text: str) -> None:
    assert "s3cr3t" not in redact(text)
    assert REDACTED in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "worker died",
        "GET https://s3.example/bucket/key?partNumber=3&uploadId=abc",
        "connect-failed: 127.0.0.1:8080",
        "design=1 assigned=2",
        "mail to a@b.example",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


def test_what_follows_a_secret_in_a_query_stays() -> None:
    assert redact("?sig=a&part=3") == f"?sig={REDACTED}&part=3"


@pytest.mark.parametrize("part", ["a.", "eyJ-", "eyJ-.", "Bearer ", "cookie '"])
def test_a_client_cannot_make_it_long(part: str) -> None:
    """Time in proportion to the square of this would end the test, and stops a worker."""
    assert redact(part * (1 << 18))
