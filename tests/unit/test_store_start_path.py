"""The diet of the start path, for the rooms below the runtime: what their modules load, and what they never load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import estiba
from tests.support.made_images import add_image

if TYPE_CHECKING:
    from estiba.store.layout import Store

SITE = str(Path(next(iter(estiba.__path__))).parent)
FORBIDDEN = (
    "re", "enum", "typing", "dataclasses", "pathlib", "json", "argparse", "asyncio", "socket", "subprocess", "tempfile", "shutil", "hashlib",
    "logging", "contextlib", "collections", "functools", "signal", "struct", "threading", "urllib", "ipaddress", "difflib", "zstandard", "isal",
)  # fmt: skip
MODULES = (
    "errors", "config.settings", "linux.locks", "oci.digest", "oci.reference", "oci.platform", "oci.strict_json", "oci.image_config", "oci.user",
    "store.layout", "store.publish", "store.blobs", "store.references", "store.images", "store.roots",
)  # fmt: skip


def loaded(code: str) -> set[str]:
    """The modules of an isolated interpreter after `code`."""
    program = f"import sys; sys.path.insert(0, {SITE!r})\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-X", "utf8", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("\n")[0].rpartition("\n")[2].split())


@pytest.mark.parametrize("module", MODULES)
def test_import(module: str) -> None:
    assert loaded(f"import estiba.{module}") & set(FORBIDDEN) == set()


def test_use(store: Store, environment: dict[str, str]) -> None:
    """Settings, store, reference, image, configuration, locks, state, encoder: all that a start does, not only the imports."""
    image = add_image(store, "app:1", "one")
    code = f"""
from estiba.config.settings import load
from estiba.store.layout import Store
from estiba.store.images import find
from estiba.store.publish import write_file
from estiba.oci.strict_json import dumps, loads
settings = load(environ={environment!r})
store = Store.open(settings)
with store.using():
    image = find(store, "app:1")
    assert image.id == {image.id!r} and image.layers
    write_file(store, store.cache + "/x", dumps({{"ociVersion": "1.2.0", "a": [1, {{"b": None}}]}}), durable=False)
    assert loads(open(store.cache + "/x", "rb").read(), what="x")
"""
    assert loaded(code) & set(FORBIDDEN) == set()


def test_a_configuration_file_costs_no_more(store: Store, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"insecure-registries": ["10.0.0.0/8"], "debug": True}))
    code = (
        f"from estiba.config.settings import load; assert load(environ={environment | {'ESTIBA_CONFIG': str(tmp_path / 'c.json')}!r}).debug"
    )
    assert loaded(code) & set(FORBIDDEN) == set()
    assert store.root


@pytest.mark.parametrize("module", ["re", "json", "hashlib"])
def test_the_list_can_fail(module: str) -> None:
    assert loaded(f"import {module}") & set(FORBIDDEN)
