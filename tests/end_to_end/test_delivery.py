"""From a commit to production: what is delivered, and what is said of it."""

import re

import pytest

from tests.end_to_end.product import Product, production_files
from tests.support.clone import DECOYS, wait_until
from tests.support.visitors import Load

pytestmark = pytest.mark.delivery


@pytest.mark.xdist_group("delivery-1")
class TestADelivery:
    """From a commit to production."""

    def test_the_first_one_serves_hello_world(self, product: Product) -> None:
        deploy, verify, promote = product.outcomes[:3]
        assert "first version" in deploy.err
        assert deploy.out.strip() == verify.out.strip() == product.gae.version_url(product.first)
        assert promote.out.strip() == product.gae.url
        assert product.gae.traffic == {product.first: 1.0}
        assert product.revision() == product.first
        assert "Hello World!" in product.page()

    def test_only_what_production_needs_is_uploaded(self, product: Product) -> None:
        assert product.gae.uploads(product.first) == production_files(product)

    def test_the_next_one_loses_no_request_and_uploads_nothing_that_lies_about(
        self, product: Product
    ) -> None:
        page = product.path / "app/templates/index.html"
        text = page.read_text("utf-8").replace("Hello World!", "Hello World! And you.")
        version = product.commit({"app/templates/index.html": text})
        for name, content in DECOYS.items():
            (product.path / name).parent.mkdir(parents=True, exist_ok=True)
            (product.path / name).write_text(content, "utf-8")
        with Load(product.gae) as load:
            assert product.must("deploy").out.strip() == product.gae.version_url(version)
            assert product.gae.traffic == {product.first: 1.0}, "deploying moves no traffic"
            checks = [product.must("verify"), product.must("promote")]
            settled = load.revisions[version]
            wait_until(lambda: load.revisions[version] > settled + 10)
        assert load.lost == []
        assert set(load.revisions) == {product.first, version}
        assert product.gae.traffic == {version: 1.0}
        assert "And you." in product.page()
        assert product.gae.uploads(version) == production_files(product)
        assert sum(done.seconds for done in checks) < 30, "usually 5 s on an idle machine"

    def test_repeating_a_step_changes_nothing(self, product: Product) -> None:
        for verb in ("deploy", "promote"):
            product.must(verb)
        assert product.gae.versions == [product.first]
        version = product.copy(5)
        product.must("promote", version)
        product.must("promote", version)
        assert product.gae.traffic == {version: 1.0}

    def test_changes_that_are_not_committed_are_not_delivered(self, product: Product) -> None:
        (product.path / "app/pages.py").write_text("# in the middle of something\n", "utf-8")
        calls = len(product.gae.requests)
        refused = product.deliver("deploy")
        assert refused.code == 3
        assert "app/pages.py" in refused.err
        assert len(product.gae.requests) == calls

    def test_a_build_that_fails_leaves_nothing_behind(self, product: Product) -> None:
        lock = (product.path / "requirements.txt").read_text("utf-8")
        broken = re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock)
        product.commit({"requirements.txt": broken})
        failed = product.deliver("deploy")
        assert failed.code == 1
        assert "Cloud build" in failed.err
        assert product.gae.versions == [product.first]
        assert product.revision() == product.first

    def test_a_dry_run_only_talks(self, product: Product) -> None:
        product.commit()
        version = product.copy(5)
        before = len(product.gae.requests)
        assert "gcloud app deploy" in product.must("--dry-run", "deploy").out
        assert "set-traffic" in product.must("--dry-run", "promote", version).out
        assert {call.method for call in product.gae.requests[before:]} == {"GET"}

    def test_status_shows_the_versions(self, product: Product) -> None:
        version = product.copy(5)
        shown = product.must("status").out
        assert re.search(rf"^\* {product.first} +100 %", shown, re.MULTILINE), shown
        assert version in shown
        assert shown.splitlines()[-1] == product.gae.url
