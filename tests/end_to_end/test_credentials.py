"""Both kinds of credentials, wrong ones and none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from emulators.appengine import AppEngine
from tests.end_to_end.product import Product, a_job, a_job_with_key, nobody

pytestmark = pytest.mark.delivery


@pytest.mark.xdist_group("delivery-1")
class TestCredentials:
    """Both kinds, wrong ones and none. That none gets out is checked after every command here."""

    def test_a_job_delivers_without_a_key(self, product: Product) -> None:
        version = product.commit()
        for verb in ("deploy", "verify", "promote"):
            product.must(verb, **a_job(product))
        assert product.gae.traffic == {version: 1.0}
        assert product.gae.requests[-1].account == product.gae.service_account

    @pytest.mark.parametrize("form", ["text", "file"])
    def test_a_job_delivers_with_a_key(self, product: Product, form: str, tmp_path: Path) -> None:
        version = product.commit()
        key = json.dumps(product.gae.service_account_key(), indent=2)
        if form == "file":
            (tmp_path / "GAE_KEY").write_text(key, "utf-8")
            key = str(tmp_path / "GAE_KEY")
        product.must("deploy", **a_job_with_key(key))
        product.must("promote", **a_job_with_key(key))
        assert product.gae.traffic == {version: 1.0}
        assert product.gae.requests[-1].account == product.gae.service_account

    def test_a_job_without_any_stops_in_its_first_second(self, product: Product) -> None:
        calls = len(product.gae.requests)
        variables = {"CI": "true", "GAE_PROJECT": "", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": ""}
        for verb in ("deploy", "verify", "promote", "rollback", "prune", "status"):
            stopped = product.deliver(verb, **variables)
            assert stopped.code == 2
            for name in ("GAE_PROJECT", "GCP_WORKLOAD_IDENTITY_PROVIDER", "GAE_KEY", "Settings"):
                assert name in stopped.err
        assert len(product.gae.requests) == calls

    def test_a_laptop_without_an_account_is_told_to_sign_in(self, product: Product) -> None:
        failed = product.deliver("status", **nobody())
        assert failed.code == 1
        assert "gcloud auth login" in failed.err

    @pytest.mark.parametrize(
        ("claims", "words"),
        [
            pytest.param({"exp": 1}, "expired", id="expired"),
            pytest.param({"project_id": "666"}, "attribute condition", id="of another project"),
            pytest.param({"aud": "https://elsewhere.example"}, "audience", id="for another"),
        ],
    )
    def test_a_token_that_google_does_not_trust_is_explained(
        self, product: Product, claims: dict[str, str | int], words: str
    ) -> None:
        token = product.gae.gitlab_token(**claims)
        failed = product.deliver("status", **a_job(product) | {"GITLAB_OIDC_TOKEN": token})
        assert failed.code == 1
        assert words in failed.err
        assert "id_tokens" in failed.err

    def test_a_key_that_was_revoked_is_explained(self, product: Product) -> None:
        with AppEngine(product.gae.project) as other:
            key = other.service_account_key() | {
                "token_uri": product.gae.service_account_key()["token_uri"]
            }
            failed = product.deliver("status", **a_job_with_key(json.dumps(key)))
            assert failed.code == 1
            assert "Invalid JWT Signature" in failed.err
            assert not any(secret in failed.said for secret in other.secrets())

    @pytest.mark.parametrize("mangle", [lambda key: key[:200], lambda key: key.replace('"', "")])
    def test_a_key_that_was_pasted_badly_is_not_repeated(
        self, product: Product, mangle: Callable[[str], str]
    ) -> None:
        key = mangle(json.dumps(product.gae.service_account_key()))
        refused = product.deliver("status", **a_job_with_key(key))
        assert refused.code == 2
        assert "GAE_KEY" in refused.err
