"""Which request headers are believed, and which security headers every response carries."""

import os

from flask import Flask, Response, request
from secure import (
    ContentSecurityPolicy,
    ReferrerPolicy,
    Secure,
    StrictTransportSecurity,
    XContentTypeOptions,
    XFrameOptions,
)
from werkzeug.middleware.proxy_fix import ProxyFix

# Everything comes from this application itself, and nothing may run inline.
SECURE = Secure(
    csp=ContentSecurityPolicy()
    .default_src("'self'")
    .base_uri("'none'")
    .form_action("'self'")
    .frame_ancestors("'none'")
    .object_src("'none'"),
    referrer=ReferrerPolicy().strict_origin_when_cross_origin(),
    xcto=XContentTypeOptions().nosniff(),
    xfo=XFrameOptions().deny(),
)
# Computed once: this runs for every response.
HEADERS = [(name, value, name.lower()) for name, value in SECURE.headers.items()]
HSTS = StrictTransportSecurity().max_age(365 * 24 * 60 * 60)


def init_app(app: Flask) -> None:
    """Add the headers to every response; believe a proxy only where one is known to stand."""
    app.after_request(secure_response)
    if proxies := trusted_proxies():
        # Each proxy appends an address to X-Forwarded-For. X-Forwarded-Proto is one value.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=1)  # type: ignore[method-assign]


def trusted_proxies() -> int:
    """Return how many addresses in X-Forwarded-For were appended by proxies of ours.

    That is TRUSTED_PROXIES, else what the platform is known for, else 0: whoever reaches the
    application directly could have written the header.
    """
    if value := os.environ.get("TRUSTED_PROXIES"):
        if not value.isdecimal():
            raise ValueError(f"TRUSTED_PROXIES is {value!r}: make it a number such as 1")
        return int(value)
    if "GAE_ENV" in os.environ:
        return 2  # the client, and then 169.254.1.1, the link to the instance
    return 1 if "K_SERVICE" in os.environ else 0


def secure_response(response: Response) -> Response:
    """Add the security headers that a view has not set; HSTS over TLS, where browsers heed it."""
    headers = response.headers
    present = {name.lower() for name, _ in headers}
    for name, value, lower in HEADERS:
        if lower not in present:
            headers.add(name, value)
    if request.is_secure:
        headers[HSTS.header_name] = HSTS.header_value
    return response
