"""What reaches Google: the files of the commit that production needs, as they are in the commit."""

import pytest

from tests.end_to_end.product import Product, production_files

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("delivery-1")]

TOKEN = "glpat-" + "x" * 20


def received(product: Product, version: str) -> dict[str, bytes]:
    """Return what a version was made of, as Google has it."""
    return dict(product.gae.version(version).files)


def test_each_file_is_the_committed_one(product: Product) -> None:
    product.git(
        "remote", "add", "origin", f"https://oauth2:{TOKEN}@gitlab.example.com/client/x.git"
    )
    try:
        version = product.commit({"app/static/new.txt": "new"})
        product.must("deploy")
    finally:
        product.git("remote", "remove", "origin")
    files = received(product, version)
    assert set(files) == production_files(product), "none is missing, and none was generated"
    for name, content in files.items():
        assert content.decode() == product.git("show", f"HEAD:{name}", strip=False), name
    assert not any(TOKEN.encode() in content for content in product.gae.staged())


def test_what_git_ignores_or_was_told_not_to_look_at_stays_here(product: Product) -> None:
    product.path.joinpath("app/static/.gitignore").write_text("private.json\n", "utf-8")
    version = product.commit()
    for name in ("app/service.key.json", "app/static/private.json"):
        (product.path / name).write_text("secret", "utf-8")
    product.git("update-index", "--assume-unchanged", "app/health.py")
    health = product.path / "app/health.py"
    health.write_text(health.read_text("utf-8") + "# not committed\n", "utf-8")
    try:
        product.must("deploy")
    finally:
        product.git("update-index", "--no-assume-unchanged", "app/health.py")
    files = received(product, version)
    assert set(files) == production_files(product)
    assert b"not committed" not in files["app/health.py"]


def test_what_is_marked_export_ignore_is_part_of_the_commit(product: Product) -> None:
    version = product.commit({".gitattributes": "/app/pages.py export-ignore\n"})
    product.must("deploy")
    assert "app/pages.py" in received(product, version)
