"""The user of a process: ``user[:group]`` (image-spec, config.md, "User"), checked but not looked up. On the start path."""

from __future__ import annotations

from estiba.errors import InvalidArgument

#: The largest id: 2^32-1 means "no id" to the kernel (chown(2), setresuid(2)).
ID_MAX = 2**32 - 2
NAME_MAX = 256

_DIGITS = frozenset("0123456789")
_NAME = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-+@$\\")
GRAMMAR = f"a user reads USER[:GROUP], each a name or a number from 0 to {ID_MAX}"


def parse_user(text: str) -> tuple[str, str]:
    """Parts ``user[:group]`` into both; the group is empty when it is not given.

    A part is a name of ASCII letters, digits and ``_.-+@$``, or a decimal number. Raises InvalidArgument with the grammar.
    """
    user, colon, group = text.partition(":")
    if not _is_name_or_id(user) or (colon and not _is_name_or_id(group)):
        raise InvalidArgument(f"cannot use user {text[:100]!r}: malformed", hint=GRAMMAR)
    return user, group


def is_id(text: str) -> bool:
    """Whether the part of a parsed user is a number."""
    return _DIGITS.issuperset(text)


def _is_name_or_id(text: str) -> bool:
    if not text or len(text) > NAME_MAX or not _NAME.issuperset(text) or text[0] == "-":
        return False
    return not _DIGITS.issuperset(text) or (len(text) <= 10 and int(text) <= ID_MAX)
