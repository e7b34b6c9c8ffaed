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
HSTS = StrictTransportSecurity().max_age(365 * 24 * 60 * 60)


def init_app(app: Flask) -> None:
    """Add the headers to every response; believe a proxy only where one is known to stand."""
    app.after_request(secure_response)
    if proxies := trusted_proxies():
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]


def trusted_proxies() -> int:
    """Count the proxies in front: TRUSTED_PROXIES, else Google's one on App Engine and Cloud Run.

    Elsewhere none: whoever reaches the application directly could write X-Forwarded-For as well.
    """
    google = "GAE_ENV" in os.environ or "K_SERVICE" in os.environ
    return int(os.environ.get("TRUSTED_PROXIES", google))


def secure_response(response: Response) -> Response:
    """Set the security headers; HSTS only over TLS, where alone browsers heed it."""
    SECURE.set_headers(response)
    if request.is_secure:
        response.headers[HSTS.header_name] = HSTS.header_value
    return response
