"""One small client for Google's REST APIs: endpoints, a token, one way to try again."""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

from delivery.backoff import pauses
from delivery.errors import CommandError
from delivery.google import advice
from delivery.probe import NoRedirect

RETRY_FOR = 60.0  # seconds
TRANSIENT = {408, 409, 429, 500, 502, 503, 504}
LONGEST_QUOTE = 300  # of a body that is not what it should be

# As gcloud has them, and as its variables CLOUDSDK_API_ENDPOINT_OVERRIDES_... replace them.
ENDPOINTS = {
    "appengine": "https://appengine.googleapis.com/",
    "artifactregistry": "https://artifactregistry.googleapis.com/",
    "cloudbilling": "https://cloudbilling.googleapis.com/",
    "cloudbuild": "https://cloudbuild.googleapis.com/",
    "cloudresourcemanager": "https://cloudresourcemanager.googleapis.com/",
    "iam": "https://iam.googleapis.com/",
    "iamcredentials": "https://iamcredentials.googleapis.com/",
    "logging": "https://logging.googleapis.com/",
    "orgpolicy": "https://orgpolicy.googleapis.com/",
    "run": "https://run.googleapis.com/",
    "serviceusage": "https://serviceusage.googleapis.com/",
    "storage": "https://storage.googleapis.com/storage/v1/",
    "sts": "https://sts.googleapis.com/",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A successful answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> dict[str, Any]:
        """The body, parsed; an empty one is an empty object. Anything else is no answer at all."""
        try:
            answer = json.loads(self.body or b"{}")
        except (ValueError, RecursionError):  # the second: nested too deep
            answer = None
        if not isinstance(answer, dict):
            raise ApiError(0, f"no answer in JSON: {self.body[:LONGEST_QUOTE]!r}")
        return answer


class ApiError(CommandError):
    """An answer that is an error, or none at all (`status` 0)."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message, why=message)
        self.what = f"HTTP {status}" if status else "no answer"
        self.status = status
        self.message = message
        self.reason = reason  # Google's word, such as SERVICE_DISABLED
        self.timed_out = False
        self.transient = status in TRANSIENT or status == 0


class Rest:
    """Sends requests; the clock and the pauses can be replaced."""

    def __init__(
        self,
        token: Callable[[], str],
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._token = token
        self._environ = environ
        self._clock = clock
        self._sleep = sleep

    def request(
        self,
        method: str,
        service: str,
        path: str,
        *,
        query: Mapping[str, str | list[str]] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        retry: bool = True,
        final: Collection[int] = (),
        timeout: float = 30,
    ) -> Answer:
        """Send a request and return its answer; raise ApiError for any other than 2xx.

        `body` is bytes, or what becomes JSON. With `retry`, what passes is tried again for a
        minute: never for a change that must not be made twice, or over somebody else's. `final`
        has statuses that trying again cannot help, such as 409 for what exists already.
        """
        url = self._endpoint(service) + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        if token := self._token():
            sent["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(url, data=data, headers=sent, method=method)  # noqa: S310 - an endpoint of ours
        deadline = self._clock() + RETRY_FOR
        waits = pauses(0.5, longest=10)
        while True:
            try:
                return _send(request, timeout)
            except ApiError as error:
                pause = next(waits)
                late = self._clock() + pause > deadline
                if not retry or not error.transient or error.status in final or late:
                    raise
            self._sleep(pause)

    def _endpoint(self, service: str) -> str:
        """Return where a service is; uploads to Cloud Storage go to a place beside it.

        SERVICE@REGION is a service's place for a region: REGION- before its host, as gcloud has it.
        """
        service, _, region = service.partition("@")
        name, _, upload = service.partition("-")
        override = self._environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}")
        base = (override or ENDPOINTS[name]).rstrip("/") + "/"
        if region:
            base = base.replace("://", f"://{region}-", 1)
        if upload:
            base = base.removesuffix("storage/v1/") + "upload/storage/v1/"
        return base


def token_in(answer: Mapping[str, Any], name: str) -> str:
    """Return a token that an answer has, or nothing.

    One of another form would be refused as a header, in an error that repeats it.
    """
    token = answer.get(name)
    return token if isinstance(token, str) and re.fullmatch("[!-~]+", token) else ""


def call(request: Callable[[], T], doing: str, role: str) -> T:
    """Make a request; an error says what was being done, and what it needs."""
    try:
        return request()
    except ApiError as error:
        error.what = f"{doing}: {error.what}"
        error.why = advice.trim(error.message)
        error.forbidden = advice.is_forbidden(error.message)
        error.then = advice.what_next(f"{error.reason} {error.message}", role)
        raise


def _send(request: urllib.request.Request, timeout: float) -> Answer:
    opener = urllib.request.build_opener(NoRedirect)  # it would take the token along
    try:
        try:
            with opener.open(request, timeout=timeout) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, response.read(), headers)
        except urllib.error.HTTPError as error:
            with error:
                raise _error(error.code, error.read()) from None
    except urllib.error.URLError as error:
        raise ApiError(0, f"no connection: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(0, f"no answer: {str(error) or type(error).__name__}") from None


def _error(status: int, body: bytes) -> ApiError:
    """Read an error in Google's form, https://cloud.google.com/apis/design/errors, or in OAuth's.

    https://www.rfc-editor.org/rfc/rfc6749#section-5.2
    """
    try:
        answer = json.loads(body)
        error = answer["error"]
        if isinstance(error, str):
            error = {"status": error, "message": answer.get("error_description")}
        message = str(error.get("message") or f"HTTP {status}")
        word = str(error.get("status", ""))
        details = error.get("details", [])
        reasons = [str(each["reason"]) for each in details if "reason" in each]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        message = body[:LONGEST_QUOTE].decode("utf-8", "replace").strip() or f"HTTP {status}"
        word, reasons = "", []
    return ApiError(status, f"{word}: {message}" if word else message, next(iter(reasons), ""))
