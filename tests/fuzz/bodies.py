"""Chunked requests as hypothesis draws them: sound, odd but sound, and broken."""

from hypothesis import strategies as st

HEADS = (
    b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"PUT /a?b=c HTTP/1.1\r\nHost: h\r\ntransfer-encoding:Chunked\r\nX-A: b\r\n\r\n",
)
NEXT = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
_ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b" \r\n", b"")
_EXTENSIONS = (
    *(b"", b"", b"", b"", b";a", b";a=b", b';a="b;c"', b" ;a", b"\t;a", b";", b";a\r", b";a\nb"),
    *(b";" + b"x" * 300, b";\x00", b";\xff", b" ", b"\x0b", b",5"),
)
_SIZES = ("%x", "%x", "%x", "%X", "0%x", "00000%x", "+%x", "-%x", "0x%x", " %x", "%x_0", "%x ")
_TRAILERS = (
    *(b"", b"", b"", b"A: b\r\n", b"A:b\r\nC: d\r\n", b"Content-Length: 5\r\n", b"A b\r\n"),
    *(b": x\r\n", b" A: b\r\n", b"A: b\n", b"Fastproxy-Upload: x\r\n", b"A: " + b"b" * 9000),
)


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    """One chunk, its framing mostly sound."""
    data = draw(st.sampled_from((b"a", b"abc", b"\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n")))
    size = draw(st.sampled_from(_SIZES)) % (len(data) + draw(st.sampled_from((0,) * 12 + (1, 16))))
    line = size.encode() + draw(st.sampled_from(_EXTENSIONS)) + draw(st.sampled_from(_ENDS))
    return line + data + draw(st.sampled_from(_ENDS))


@st.composite
def chunked_requests(draw: st.DrawFn) -> bytes:
    """A head, chunks, a last one, trailers, and maybe something behind it."""
    head = draw(st.sampled_from(HEADS))
    body = b"".join(draw(st.lists(chunks(), max_size=4)))
    last = draw(st.sampled_from((b"0\r\n",) * 6 + (b"00\r\n", b"0;a\r\n", b"0\n", b"-0\r\n", b"")))
    end = draw(st.sampled_from(_ENDS))
    behind = draw(
        st.sampled_from((b"", b"", b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n", b"0\r\n\r\n"))
    )
    return head + body + last + draw(st.sampled_from(_TRAILERS)) + end + behind
