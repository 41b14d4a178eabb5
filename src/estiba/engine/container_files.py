"""Text of the files that a container gets from the engine: hosts, resolv.conf, hostname, and what its caller's files say. Pure, but
for reading the host's own files. On the start path of ``run``.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.runtime.options import RunOptions

_LOCAL = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
_FILE_LIMIT = 1024 * 1024


def hosts(options: RunOptions) -> str:
    """The text of /etc/hosts: the host's with the host's network, else local names and the container's own."""
    text = _host_file("/etc/hosts") if options.network == "host" else f"{_LOCAL}127.0.1.1\t{options.hostname}\n"
    for name, address in options.add_hosts:
        if address == "host-gateway":
            if options.network != "host":
                raise InvalidArgument(f"cannot use --add-host {name}:host-gateway: the container has no network to the host")
            address = "127.0.0.1"
        text += f"{address}\t{name}\n"
    return text


def resolv_conf(options: RunOptions) -> str:
    """The text of resolv.conf(5): what was asked for, and the host's for the rest."""
    host = _host_file("/etc/resolv.conf")
    if not (options.dns or options.dns_search or options.dns_options):
        return host
    lines = [f"nameserver {address}" for address in options.dns] or _kept(host, "nameserver")
    search = [name for name in options.dns_search if name != "."]
    if search:
        lines.append("search " + " ".join(search))
    elif not options.dns_search:
        lines += _kept(host, "search")
    lines += ["options " + " ".join(options.dns_options)] if options.dns_options else _kept(host, "options")
    return "\n".join(lines) + "\n"


def _kept(text: str, keyword: str) -> list[str]:
    return [line for line in text.splitlines() if line.split()[:1] == [keyword]]


def _host_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(_FILE_LIMIT)
    except OSError:
        return ""  # a host without the file: a container without entries


def read_env_file(path: str) -> list[str]:
    """Returns the entries of an --env-file: NAME=VALUE or NAME, one a line, # comments.

    Raises InvalidArgument with the line's number.
    """
    entries = []
    for number, line in _lines(path, "--env-file"):
        name = line.partition("=")[0]
        if not name or name != name.strip() or " " in name or "\t" in name:
            raise InvalidArgument(f"cannot read --env-file {path} line {number}: {line[:60]!r} is not NAME=VALUE")
        entries.append(line)
    return entries


def read_label_file(path: str) -> dict[str, str]:
    """Returns the labels of a --label-file. Raises InvalidArgument with the line's number."""
    labels = {}
    for number, line in _lines(path, "--label-file"):
        key, _, value = line.partition("=")
        if not key.strip():
            raise InvalidArgument(f"cannot read --label-file {path} line {number}: no key")
        labels[key] = value
    return labels


def _lines(path: str, flag: str) -> list[tuple[int, str]]:
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise InvalidArgument(f"cannot read {flag} {path}: {error.strerror}") from None
    if len(data) > _FILE_LIMIT:
        raise InvalidArgument(f"cannot read {flag} {path}: it is larger than {_FILE_LIMIT} bytes")
    lines = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if b"\0" in raw:
            raise InvalidArgument(f"cannot read {flag} {path} line {number}: it holds a NUL")
        try:
            line = raw.decode().removesuffix("\r").lstrip()
        except UnicodeDecodeError:
            raise InvalidArgument(f"cannot read {flag} {path} line {number}: it is not UTF-8") from None
        if line and not line.startswith("#"):
            lines.append((number, line))
    return lines
