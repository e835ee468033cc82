"""For applications behind fastproxy: believe what is signed, and nothing else (docs/backends.md).

Needs PyJWT and nothing else; `fastproxy.backend.django`, `.flask` and `.fastapi` need what they
are named after.
"""

from fastproxy.backend.form import MAX_FORM, UploadedForm
from fastproxy.backend.guard import MAX_BODY, Guard, read_secret
from fastproxy.backend.permission import Permission, Presigned
from fastproxy.backend.refusal import Reason, Refused
from fastproxy.backend.replays import FolderReplays, MemoryReplays, RedisReplays, Replays
from fastproxy.backend.routes import UploadRoute
from fastproxy.backend.uploaded import Ask, UploadedFile

__all__ = [
    "MAX_BODY",
    "MAX_FORM",
    "Ask",
    "FolderReplays",
    "Guard",
    "MemoryReplays",
    "Permission",
    "Presigned",
    "Reason",
    "RedisReplays",
    "Refused",
    "Replays",
    "UploadRoute",
    "UploadedFile",
    "UploadedForm",
    "read_secret",
]
