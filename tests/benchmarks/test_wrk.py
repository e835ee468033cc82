"""The reports of wrk count only when every request was answered well."""

import pytest

from benchmarks.wrk import requests_of

GOOD = "  1 threads and 64 connections\n  183312 requests in 2.00s, 15.38MB read\n"


def test_the_number_of_requests_is_read() -> None:
    assert requests_of(GOOD) == 183312


@pytest.mark.parametrize(
    "report",
    [
        GOOD + "  Non-2xx or 3xx responses: 1\n",
        GOOD + "  Socket errors: connect 0, read 1, write 0, timeout 0\n",
        GOOD.replace("183312", "0"),
        "unable to connect to 127.0.0.1:1 Connection refused\n",
    ],
)
def test_a_report_with_a_failure_is_not_counted(report: str) -> None:
    with pytest.raises(RuntimeError, match=r"\S"):
        requests_of(report)
