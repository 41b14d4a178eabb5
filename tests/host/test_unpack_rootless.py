"""Layers as an ordinary user, with subordinate ids and with a single one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.tars import archive, diff_id, gz, header, member, pax

if TYPE_CHECKING:
    from tests.support.users import User

WORK = """
import hashlib, json, os, sys
from estiba.config.settings import load
from estiba.errors import EstibaError
from estiba.store import layers
from estiba.store.layout import Store
settings = load()
store = Store.open(settings)
blob = open("layer.tar.gz", "rb").read()
try:
    info = layers.apply_layer(store, settings, sys.argv[1], "", [blob])
except EstibaError as error:
    print(json.dumps({"error": error.message, "hint": error.hint}))
    sys.exit()
tar = b"".join(layers.open_tar(store, sys.argv[1]))
root = store.layers + "/" + layers.layer_path_name(sys.argv[1])
owners = {name: [os.lstat(root + "/" + name).st_uid, os.lstat(root + "/" + name).st_gid] for name in ("bin/tool", "bin", "bin/link")}
result = {
    "digest": "sha256:" + hashlib.sha256(tar).hexdigest(), "squashed": info.squashed, "owners": owners,
    "problems": layers.verify_layer(store, sys.argv[1]), "entries": len(list(layers.tree_entries(store, sys.argv[1]))),
    "whiteout": os.lstat(root + "/gone").st_rdev, "opaque": os.getxattr(root + "/opaque", "user.overlay.opaque").decode(),
}
layers.remove_layer(store, sys.argv[1])
layers.empty_trash(store)
result["trash"] = os.listdir(store.trash)
result["freed"] = layers.sweep_files(store)
print(json.dumps(result))
"""

LAYER = archive(
    header(b"bin", kind=b"5", mode=0o755, uid=1, gid=2),
    member(b"bin/tool", b"program", mode=0o4755, uid=1000, gid=2000),
    header(b"bin/link", kind=b"2", link=b"tool", uid=7, gid=8),
    header(b"closed", kind=b"5", mode=0o700, uid=33, gid=33),
    member(b"closed/secret", b"secret", mode=0, uid=33, gid=33),
    member(b"unreadable", b"content" * 1000, mode=0),
    pax([(b"SCHILY.xattr.security.capability", b"\x01\0\0\2\0\x20" + bytes(14))]) + member(b"ping", b"ping", mode=0o755),
    member(b".wh.gone"),
    member(b"opaque/.wh..wh..opq"),
    header(b"dev/null", kind=b"3"),
)


def unpack(user: User, tar: bytes) -> dict[str, object]:
    (user.folder / "layer.tar.gz").write_bytes(gz(tar))
    (user.folder / "layer.tar.gz").chmod(0o644)
    done = user.run(str(user.python), "-c", WORK, diff_id(tar))
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def test_unpack_rebuild_check_remove(ordinary_user: User) -> None:
    result = unpack(ordinary_user, LAYER)
    assert result.get("digest") == diff_id(LAYER), result
    assert result["problems"] == []
    assert result["whiteout"] == 0
    assert result["opaque"] == "y"
    assert result["entries"] == 12
    assert result["trash"] == []
    assert result["freed"] != 0


def test_owners_are_in_the_subordinate_range(user_with_subids: User) -> None:
    result = unpack(user_with_subids, LAYER)
    assert result["squashed"] is False
    owners = result["owners"]
    assert isinstance(owners, dict)
    first = owners["bin"][0]
    assert first >= 65536
    assert owners["bin/tool"] == [first + 999, owners["bin"][1] + 1998]
    assert owners["bin/link"] == [first + 6, owners["bin"][1] + 6]


def test_a_single_id_owns_everything(user_without_subids: User) -> None:
    result = unpack(user_without_subids, LAYER)
    assert result["squashed"] is True
    user = user_without_subids
    assert result["owners"] == {"bin/tool": [user.uid, user.gid], "bin": [user.uid, user.gid], "bin/link": [user.uid, user.gid]}


def test_an_owner_beyond_the_range_is_named(user_with_subids: User) -> None:
    result = unpack(user_with_subids, archive(member(b"a/b", b"x", uid=1_000_000)))
    assert "entry 'a/b' belongs to uid 1000000" in str(result["error"])
    assert "subuid" in str(result["hint"])
