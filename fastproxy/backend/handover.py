"""Where a middleware leaves what was uploaded for its application: WSGI's environ, ASGI's scope."""

from collections.abc import Mapping
from typing import Any, Final

from fastproxy.backend.form import UploadedForm
from fastproxy.backend.refusal import Reason, Refused
from fastproxy.backend.uploaded import UploadedFile

FILE: Final = "fastproxy.upload"
FORM: Final = "fastproxy.form"


def uploaded(request: Mapping[str, Any]) -> UploadedFile:
    """The file that came with this request. Raises Refused when none did: let it pass."""
    file = request.get(FILE)
    if not isinstance(file, UploadedFile):
        raise Refused(Reason.MISSING, "this address takes uploads through fastproxy only")
    return file


def uploaded_form(request: Mapping[str, Any]) -> UploadedForm:
    """The form that came with this request. Raises Refused when none did: let it pass."""
    form = request.get(FORM)
    if not isinstance(form, UploadedForm):
        raise Refused(Reason.MISSING, "this address takes forms through fastproxy only")
    return form
