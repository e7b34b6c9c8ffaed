"""The example target does what delivery/target.py asks of one."""

from pathlib import Path

import pytest
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.errors import CommandError, MisuseError
from delivery.process import Runner

from tests.delivery.bench import A, B, Site
from tests.delivery.files_target import FilesTarget


def test_it_names_the_setting_that_is_missing(tmp_path: Path) -> None:
    runner = Runner(Console({}), PrivateFolder(outside=tmp_path), tmp_path, {"SITE_FOLDER": "x"})
    target = FilesTarget(runner)
    with pytest.raises(MisuseError, match="SITE_HOST"):
        target.login()


def test_traffic_goes_only_to_what_is_there(site: Site) -> None:
    site.deliver(A)
    with pytest.raises(CommandError, match=f"no version {B}"):
        site.job().target.set_traffic({B: 100})
    assert site.serving == {A: 100}


def test_deleting_what_is_gone_is_no_error(site: Site) -> None:
    site.job().target.delete([A, B])
