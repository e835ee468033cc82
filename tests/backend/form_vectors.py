"""The forms of docs/protocol-vectors.json: made by fastproxy's own code, with one fault or none."""

from collections.abc import Iterator
from typing import Any

import jwt
from msgspec.structs import replace

from fastproxy.claims import Signer
from fastproxy.protocol import FILE, FORM, UPLOAD, body_hash
from fastproxy.uploads.form import FieldBudget, FormFields, StoredFile
from fastproxy.uploads.report import StoredUpload
from fastproxy.wire.part_head import PartHead

ABOUT = (
    "Judge each of `forms` as an endpoint that takes forms would judge a POST to `path`, with the"
    " tokens in `spent` used before. `refusal` null: believed, and its files are those of `files`"
    " alone, of which each was told as `upload` in the field `field` and called `name` by the"
    " client."
)
PATH = "/posts"


def _form_of(token: bytes) -> str:
    head = 'Content-Disposition: form-data; name="a.fastproxy-upload"'
    return f"--b\r\n{head}\r\n\r\n{token.decode()}\r\n--b--\r\n"


class FormMaker:
    """Forms of `upload`, signed by `signer`."""

    def __init__(self, signer: Signer, upload: StoredUpload) -> None:
        self._signer = signer
        self._photo = StoredFile("photo", replace(upload, name="a b.png"))
        self._other = StoredFile("ü", replace(upload, name="", size=15))

    def cases(self) -> Iterator[dict[str, Any]]:
        both = [self._photo, self._photo, self._other]
        yield self.case("a form with a file", [self._photo])
        yield self.case("a form with files of one name, and of another", both)
        yield self.case("a form without files", [])
        honest = self.case("a body that was changed", [self._photo], "body")
        yield {**honest, "body": honest["body"].replace("a title", "A title")}
        other = self._made("/elsewhere", [self._photo])[0]
        yield self._mixed("a file of another address", other, "request")
        spoilt = honest["body"].replace("eyJ", "eyI")
        yield self._mixed("a file whose token was changed", spoilt, "signature")
        body = honest["body"]
        token = self._signer.sign(UPLOAD, b"POST", PATH, body_sha256="")
        bad = {**honest, "name": "a report's token", "refusal": "purpose", "token": token.decode()}
        yield {**bad, "body": body}
        yield {**honest, "name": "no token", "refusal": "missing", "token": None, "body": body}
        jti = jwt.decode(honest["token"], options={"verify_signature": False})["jti"]
        first = {**honest, "body": body.replace("A title", "a title")}
        yield {**first, "name": "a form that came before", "spent": [jti], "refusal": "replayed"}
        token = self._signer.sign(FILE, b"POST", PATH, upload={"size": 1}, field="a", name="a")
        yield self._mixed("a file of which nothing is said", _form_of(token), "malformed")
        token = self._signer.sign(UPLOAD, b"POST", PATH, upload={}, field="a", name="a")
        yield self._mixed("a file with a report's token", _form_of(token), "purpose")
        half = '--b\r\nContent-Disposition: form-data; name="a"\r\n--b--\r\n'
        yield self._mixed("a part without its end", half, "body")

    def case(
        self, name: str, files: list[StoredFile], refusal: str | None = None
    ) -> dict[str, Any]:
        body, token = self._made(PATH, files)
        told = [
            {"field": file.field, "name": file.upload.name, "size": file.upload.size}
            for file in files
        ]
        return {
            "name": name,
            "path": PATH,
            "token": token,
            "body": body,
            "spent": [],
            "refusal": refusal,
            "files": told if refusal is None else [],
        }

    def _mixed(self, name: str, body: str, refusal: str) -> dict[str, Any]:
        """As if fastproxy had signed that body."""
        digest = body_hash(body.encode())
        claims = {"files": {"photo": [""]}, "body_sha256": digest}
        token = self._signer.sign(FORM, b"POST", PATH, **claims).decode()
        return {
            "name": name, "path": PATH, "token": token, "body": body, "spent": [],
            "refusal": refusal, "files": [],
        }  # fmt: skip

    def _made(self, path: str, files: list[StoredFile]) -> tuple[str, str]:
        fields = FormFields(10, 1000, FieldBudget(1000))
        fields.begin(PartHead("title", None, ""))
        fields.add(b"a title")
        fields.end()
        body, lines = fields.report(files, self._signer, b"POST", path)
        return body.decode(), lines.split(b"Fastproxy-Upload: ")[1].strip().decode()
