"""What verbs that list share of `--filter`: each is KEY=VALUE, and the keys are known. On the start path of `ps` with a filter."""

from __future__ import annotations

from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def split(filters: Sequence[str], known: Sequence[str], *, silent: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """The key and the value of each filter. `silent` are keys that are taken and not offered. Raises InvalidArgument for any other."""
    hint = "valid: " + ", ".join(f"{key}=" for key in known)
    for text in filters:
        key, separator, value = text.partition("=")
        if not separator:
            raise InvalidArgument(f"cannot use --filter {text!r}: not KEY=VALUE", hint=hint)
        if key not in known and key not in silent:
            raise InvalidArgument(f"cannot use --filter {text!r}: unknown filter", hint=hint)
        yield key, value
