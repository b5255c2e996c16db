"""Why a download failed, and whether it is worth another try.

Every failure of a server or of the way to it becomes a `FailedDownload` here; failures of this machine, such as a full disk, do not.
"""

import email.utils
import ssl
import time
from collections.abc import Mapping

import httpcore

from bbqrec_core.errors import SourceError

GONE = (404, 410)
"""Statuses by which a server says that there is nothing at an address, and will not be."""
TEMPORARY = (408, 425, 429)
"""Statuses below 500 that are worth another try."""


class FailedDownload(SourceError):
    """An address did not give what was wanted.

    Args:
        reason: In a few words that are the same for all failures of the kind, so that they can be counted.
        detail: What differs from one to the next.
        again: Whether another try may succeed.
        wait: Seconds after which the server wants to be asked again, if it said so.
        gone: Whether the server said that there is nothing at the address.
        way_out: What the reader can do about it.
    """

    def __init__(
        self, reason: str, detail: str = "", *, again: bool = False, wait: float | None = None, gone: bool = False, way_out: str = ""
    ) -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason, way_out)
        self.reason = reason
        self.detail = detail
        self.again = again
        self.wait = wait
        self.gone = gone


def failure_of_status(status: int, headers: Mapping[str, str]) -> FailedDownload:
    """The failure that an unwanted status is."""
    again = status in TEMPORARY or status >= 500
    return FailedDownload(f"status {status}", again=again, wait=retry_after(headers) if again else None, gone=status in GONE)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of the header Retry-After, which gives them or a date (RFC 9110, 10.2.3); None where there is none that can be read."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def failure_of_transport(error: Exception, silence: float) -> FailedDownload:
    """The failure that an error of the connection is.

    Args:
        error: One of httpcore's, or a TimeoutError.
        silence: Seconds for which a server may be silent.
    """
    if isinstance(error, httpcore.TimeoutException | TimeoutError):
        return FailedDownload(f"no answer for {silence:g} s", again=True)
    if isinstance(error, httpcore.ProtocolError):
        return FailedDownload("the answer broke off or is no HTTP", str(error), again=True)
    if certificate := _certificate_error(error):
        return FailedDownload("the server's certificate is not valid", certificate)
    return FailedDownload("the connection failed", str(error), again=True)


def _certificate_error(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""
