"""The words of a mount's options (runtime-spec, config.md#linux-mount-options). Pure."""

from __future__ import annotations

from estiba.errors import NotImplemented
from estiba.runtime.mounts import PROPAGATION

# mount_setattr(2): word -> what it sets and what it clears.
_ATIME = 0x70
_ATTRIBUTES = {
    "ro": (0x1, 0),
    "rw": (0, 0x1),
    "nosuid": (0x2, 0),
    "suid": (0, 0x2),
    "nodev": (0x4, 0),
    "dev": (0, 0x4),
    "noexec": (0x8, 0),
    "exec": (0, 0x8),
    "relatime": (0, _ATIME),
    "norelatime": (0, 0),
    "noatime": (0x10, _ATIME),
    "atime": (0, _ATIME),
    "strictatime": (0x20, _ATIME),
    "nostrictatime": (0, _ATIME),
    "nodiratime": (0x80, 0),
    "diratime": (0, 0x80),
    "nosymfollow": (0x200000, 0),
    "symfollow": (0, 0x200000),
}
_NOTHING = ("defaults", "silent", "loud", "iversion", "noiversion", "async")
_NOT_OFFERED = ("idmap", "ridmap")
RDONLY = 0x1


class MountOptions:
    """What the words mean: attributes to set and to clear of the mount, and of all that is below it; propagation, in order; whether it is
    a bind, recursive, or of what is mounted already; whether the new file system is filled first; the file system's own options.
    """

    __slots__ = ("bind", "clear", "clear_below", "copy", "data", "propagation", "recursive", "remount", "set", "set_below")

    def __init__(self, words: list[str]) -> None:
        self.set = self.clear = self.set_below = self.clear_below = 0
        self.propagation: list[int] = []
        self.bind = self.recursive = self.remount = self.copy = False
        self.data: list[str] = []
        for word in words:
            self._take(word)

    def _take(self, word: str) -> None:
        if word in _ATTRIBUTES:
            change, clear = _ATTRIBUTES[word]
            self.set, self.clear = (self.set & ~clear) | change, (self.clear & ~change) | clear
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES and word not in PROPAGATION:
            change, clear = _ATTRIBUTES[word[1:]]
            self.set_below, self.clear_below = (self.set_below & ~clear) | change, (self.clear_below & ~change) | clear
        elif word in PROPAGATION or word in ("unbindable", "runbindable"):
            self.propagation.append(PROPAGATION.get(word, 0x20000 | (0x4000 if word[0] == "r" else 0)))
        elif word in ("bind", "rbind"):
            self.bind, self.recursive = True, word == "rbind"
        elif word == "remount":
            self.remount = True
        elif word == "tmpcopyup":
            self.copy = True
        elif word in _NOT_OFFERED:
            raise NotImplemented(f"cannot use mount option {word}: it is not offered")
        elif word and word not in _NOTHING:
            self.data.append(word)


def known_options() -> list[str]:
    """Every word that is known, but for those of file systems."""
    kinds = ("bind", "rbind", "remount", "tmpcopyup", "unbindable", "runbindable")
    return sorted({*_ATTRIBUTES, *(f"r{word}" for word in _ATTRIBUTES), *_NOTHING, *PROPAGATION, *kinds})
