"""Errors of the APIs, in the middle of a verb."""

import re
from pathlib import Path

import pytest

from emulators.appengine import AppEngine
from tests.end_to_end.product import Product, a_job, new_product

pytestmark = pytest.mark.delivery


@pytest.mark.xdist_group("delivery-1")
class TestGoogleSaysNo:
    """Errors of the API, in the middle of a verb."""

    @pytest.mark.parametrize(
        ("permission", "role"),
        [
            ("appengine.applications.get", "roles/appengine.deployer"),
            ("appengine.versions.create", "roles/appengine.deployer"),
            ("storage.objects.create", "roles/storage.objectAdmin"),
            ("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
        ],
    )
    def test_a_missing_role_is_named(self, product: Product, permission: str, role: str) -> None:
        product.commit({"app/static/new.txt": f"never uploaded before: {permission}"})
        with product.gae.without(permission):
            failed = product.deliver("deploy", **a_job(product))
        assert failed.code == 1
        assert role in failed.err
        assert "python -m delivery doctor" in failed.err, "which names the others, too"
        assert re.search(r"production: +unchanged", failed.err)
        assert product.gae.versions == [product.first]

    def test_a_missing_role_for_traffic_is_named(self, product: Product) -> None:
        version = product.copy(5)
        with product.gae.without("appengine.services.update"):
            failed = product.deliver("promote", version)
        assert failed.code == 1
        assert "roles/appengine.serviceAdmin" in failed.err
        assert product.gae.traffic == {product.first: 1.0}

    @pytest.mark.parametrize("status", [409, 503])
    def test_what_passes_is_tried_again(self, product: Product, status: int) -> None:
        version = product.copy(5)
        product.gae.fail_next("PATCH", "/services/default", status)
        product.must("promote", version)
        assert product.gae.traffic == {version: 1.0}

    def test_a_lost_answer_is_no_lost_promotion(self, product: Product) -> None:
        version = product.copy(5)
        product.gae.drop_next("PATCH", "/services/default", applied=True)
        product.must("promote", version)
        assert product.gae.traffic == {version: 1.0}

    def test_a_slow_answer_is_awaited(self, product: Product) -> None:
        version = product.commit()
        product.gae.delay_next("POST", "/versions", 11)
        assert "..." in product.must("deploy").err, "a log shows that something still happens"
        assert version in product.gae.versions

    def test_without_an_app_the_command_that_creates_one_is_shown(self, tmp_path: Path) -> None:
        with AppEngine(created=False) as gae:
            failed = new_product(tmp_path, gae).deliver("deploy")
            assert failed.code == 1
            assert "gcloud app create" in failed.err
