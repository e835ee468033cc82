"""A store made for one request from URLs the backend signed (GitLab Workhorse's RemoteObject).

With `part_urls` the object goes up as parts of exactly `part_size`; without, in one PUT of known
length. The URLs are fixed: an expired one cannot be signed anew and is refused.
"""

from contextlib import suppress
from urllib.parse import urlsplit

from msgspec import Struct

from fastproxy.errors import (
    BadAuthorizeAnswer,
    StoreMismatch,
    StoreRefused,
)
from fastproxy.message import Headers
from fastproxy.storage import s3xml
from fastproxy.storage.backoff import RetryPolicy, persist
from fastproxy.storage.checksum import checksum_of
from fastproxy.storage.contract import (
    REMOVABLE,
    UNFINISHED,
    Excerpt,
    Leftover,
    PartBody,
    Source,
    Stored,
    StoreNeeds,
)
from fastproxy.storage.sender import (
    FIRST_BYTE,
    HttpAnswer,
    HttpCall,
    NotThere,
    SignatureExpired,
    UnsatisfiableRange,
    etag_of,
    excerpt_of,
    fault_of,
    nothing_from,
    range_of,
    redacted,
    send,
    size_of,
)

MAX_PUT = 5 << 30  # S3's limit of one PUT, and of one part
EMPTY_ETAG = "d41d8cd98f00b204e9800998ecf8427e"  # the md5 of nothing
XML: Headers = [(b"content-type", b"application/xml")]
DEFAULT_PUT_HEADERS: Headers = [(b"content-type", b"application/octet-stream")]


class PresignedTarget(Struct, frozen=True, kw_only=True):
    """What the backend allows. Sizes in bytes; `headers` go with every PUT, exactly these.

    `verify_size`: read one byte through `get_url` to learn the stored size. `verify_md5`: every
    ETag must be the md5 of what was sent (not so for SSE-KMS and SSE-C).
    """

    put_url: str = ""
    get_url: str = ""
    delete_url: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = tuple(DEFAULT_PUT_HEADERS)
    part_size: int = 0
    part_urls: tuple[str, ...] = ()
    complete_url: str = ""
    abort_url: str = ""
    verify_size: bool = True
    verify_md5: bool = False

    def __post_init__(self) -> None:
        """Raises BadAuthorizeAnswer for URLs and sizes that do not make a target."""
        if self.is_multipart:
            required = (self.complete_url, self.abort_url, *self.part_urls)
            if not self.part_urls or not 0 < self.part_size <= MAX_PUT:
                raise BadAuthorizeAnswer("multipart upload without part URLs or part size")
        else:
            required = (self.put_url,)
        for url in (*required, *filter(None, (self.get_url, self.delete_url))):
            _check_url(url)

    @property
    def is_multipart(self) -> bool:
        """Workhorse's rule: a part size decides."""
        return self.part_size > 0 or bool(self.part_urls)


class PresignedStore:
    """One object of one request; keys are only names, the URLs say where it goes."""

    def __init__(
        self, target: PresignedTarget, call: HttpCall, policy: RetryPolicy | None = None
    ) -> None:
        self._target = target
        self._call = call
        self._policy = policy or RetryPolicy()

    @property
    def needs(self) -> StoreNeeds:
        """Equal parts, as many as URLs; or exactly one part when there is a single URL."""
        target = self._target
        if not target.is_multipart:
            return StoreNeeds(
                min_part=1, part_size=MAX_PUT, max_part=MAX_PUT, max_parts=1, max_object=MAX_PUT
            )
        size, count = target.part_size, len(target.part_urls)
        return StoreNeeds(
            min_part=size,
            part_size=size,
            max_part=size,
            max_parts=count,
            max_object=size * count,
            equal_parts=True,
        )

    @property
    def place(self) -> str:
        """Without meaning: leftovers carry their own URLs."""
        return "presigned"

    async def prepare(self) -> None:
        """There is nothing to wait for."""

    async def put(
        self, key: str, body: PartBody, *, content_type: str = "", write_id: str = ""
    ) -> Stored:
        """One PUT, or a multipart upload of one part when only that was allowed."""
        if self._target.is_multipart:
            upload = await self.begin(key, size=body.size)
            await upload.put_part(body)
            return await upload.complete(body.size)
        etag = await self.put_bytes(self._target.put_url, body)
        return await self.verified(Stored(key, body.size, etag))

    async def begin(
        self, key: str, *, content_type: str = "", size: int | None = None, write_id: str = ""
    ) -> "PresignedUpload":
        """The backend began it already. Raises StoreRefused when there is only one PUT."""
        if not self._target.is_multipart:
            raise StoreRefused("the backend allows one PUT only")
        if size is not None and size > self.needs.max_object:
            raise StoreRefused(f"{size} bytes do not fit {len(self._target.part_urls)} parts")
        return PresignedUpload(self, self._target, key)

    async def read(self, key: str, start: int, length: int) -> Excerpt:
        """A GET of a range of the GetURL; raises StoreRefused when the backend gave none."""
        url = self._target.get_url
        if not url:
            raise StoreRefused("the backend allows no reading")

        async def attempt() -> Excerpt:
            answer = await self.send("GET", url, range_of(start, length))
            return excerpt_of(answer, start, length)

        try:
            return await persist(attempt, self._policy)
        except UnsatisfiableRange as fault:
            return nothing_from(start, fault)

    async def source(self, key: str, *, method: str = "GET") -> Source:
        """The GetURL; raises StoreRefused without one, and for HEAD, which it is not signed for."""
        if not self._target.get_url or method != "GET":
            raise StoreRefused("the backend allows no reading")
        return Source(url=self._target.get_url)

    async def undo(self, left: Leftover) -> None:
        """Abort and delete, as far as there are URLs and it came."""
        await undo(left, self._call, self._policy)

    async def close(self) -> None:
        """The connections are the HTTP client's."""

    async def remove(self, url: str) -> None:
        """DELETE; what is gone is no error."""
        await _remove(url, self._call, self._policy)

    async def put_bytes(self, url: str, body: PartBody) -> str:
        """PUT until it is stored; the ETag."""
        checksum = await checksum_of("md5" if self._target.verify_md5 else "none", body)

        async def attempt() -> str:
            answer = await self.send("PUT", url, [*self._target.headers], body)
            checksum.confirm(answer)
            return etag_of(answer.headers)

        return await persist(attempt, self._policy)

    async def complete(self, body: bytes, stored: Stored) -> str:
        """POST the CompleteURL; the object's ETag. An <Error> in a 200 answer is an error."""
        was_asked = False

        async def attempt() -> str:
            nonlocal was_asked
            is_repeated, was_asked = was_asked, True
            try:
                return _completed(
                    await self.send("POST", self._target.complete_url, XML, body),
                    self._target.complete_url,
                )
            except NotThere:
                # an earlier attempt may have succeeded without our hearing of it
                if not is_repeated or await self._stored_size() != stored.size:
                    raise
                return ""

        return await persist(attempt, self._policy)

    async def verified(self, stored: Stored) -> Stored:
        """Raises StoreMismatch when the store has another size; asks only if there is a GetURL."""
        if not (self._target.verify_size and self._target.get_url):
            return stored
        size = await persist(self._stored_size, self._policy)
        if size != stored.size:
            raise StoreMismatch(f"{stored.key}: {stored.size} bytes sent, the store has {size}")
        return stored

    async def send(
        self, method: str, url: str, headers: Headers, body: PartBody | bytes | None = None
    ) -> HttpAnswer:
        """One attempt."""
        return await _send(self._call, method, url, headers, body, self._policy.timeout_s)

    async def _stored_size(self) -> int | None:
        """What is behind the GetURL; None: no such object, or no such URL."""
        if not self._target.get_url:
            return None
        try:
            return size_of(await self.send("GET", self._target.get_url, FIRST_BYTE))
        except UnsatisfiableRange:
            return 0
        except NotThere:
            return None


class PresignedUpload:
    """One multipart upload the backend has begun."""

    def __init__(self, store: PresignedStore, target: PresignedTarget, key: str) -> None:
        self._store = store
        self._target = target
        self._key = key
        self._etags: dict[int, str] = {}
        self._sizes: dict[int, int] = {}

    @property
    def upload_id(self) -> str:
        """Only the backend knows it."""
        return ""

    async def put_part(self, body: PartBody) -> None:
        """PUT to the part's URL. Raises StoreRefused when there is none or the size is wrong."""
        count, size = len(self._target.part_urls), self._target.part_size
        if not 1 <= body.number <= count:
            raise StoreRefused(f"part {body.number}: the backend signed {count}")
        if body.size > size or body.offset != (body.number - 1) * size:
            raise StoreRefused(f"part {body.number} is not of {size} bytes")
        etag = await self._store.put_bytes(self._target.part_urls[body.number - 1], body)
        if not etag:
            raise StoreMismatch(f"no ETag for part {body.number}")
        self._etags[body.number] = etag
        self._sizes[body.number] = body.size

    async def complete(self, size: int) -> Stored:
        """POST the list of parts, check the size."""
        if sum(self._sizes.values()) != size:
            raise StoreMismatch(f"{size} bytes expected, {sum(self._sizes.values())} in parts")
        wanted = Stored(self._key, size)
        etag = await self._store.complete(s3xml.completion(self._etags.items()), wanted)
        return await self._store.verified(Stored(self._key, size, etag))

    async def abort(self) -> None:
        """DELETE the AbortURL."""
        await self._store.remove(self._target.abort_url)


async def undo(left: Leftover, call: HttpCall, policy: RetryPolicy) -> None:
    """Take back a write of any presigned store by the URLs it left.

    The object bears no mark of ours: it is left alone if it can be read and has another ETag than
    the store told us. Without GetURL, or if no ETag was heard, whatever is there goes.
    """
    if left.abort_url and left.stage in UNFINISHED:
        await _remove(left.abort_url, call, policy)
    if left.delete_url and left.stage in REMOVABLE:
        if left.get_url and left.etag and await _etag(left.get_url, call, policy) != left.etag:
            return
        await _remove(left.delete_url, call, policy)


async def _etag(url: str, call: HttpCall, policy: RetryPolicy) -> str | None:
    """Of what is there; None when nothing is."""

    async def attempt() -> str:
        return etag_of((await _send(call, "GET", url, FIRST_BYTE, None, policy.timeout_s)).headers)

    try:
        return await persist(attempt, policy)
    except NotThere:
        return None
    except UnsatisfiableRange:  # an empty object; nobody says of which ETag
        return EMPTY_ETAG


async def _remove(url: str, call: HttpCall, policy: RetryPolicy) -> None:
    with suppress(NotThere):
        await persist(lambda: _send(call, "DELETE", url, [], None, policy.timeout_s), policy)


async def _send(
    call: HttpCall,
    method: str,
    url: str,
    headers: Headers,
    body: PartBody | bytes | None,
    timeout_s: float,
) -> HttpAnswer:
    try:
        return await send(call, method, url, headers, body, timeout_s=timeout_s)
    except SignatureExpired as fault:
        raise StoreRefused(fault.detail) from fault


def _completed(answer: HttpAnswer, url: str) -> str:
    document = s3xml.parse(answer.body)
    if document.root == "CompleteMultipartUploadResult":
        return document.fields.get("ETag", "").strip('"')
    what = f"POST {redacted(url)}"
    if document.root == "Error":
        raise fault_of(what, answer.status, document.code or "InternalError", document.message)
    raise StoreMismatch(f"{what}: not the answer to a completed upload")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not url.isascii() or not url.isprintable() or " " in url:
        raise BadAuthorizeAnswer("a presigned URL is no usable URL")
