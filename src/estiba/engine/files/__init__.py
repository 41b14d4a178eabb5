"""The files of a container: what `cp`, `diff`, `commit` and `export` share.

`jail` talks with the helper that sees a container's root and nothing else (helper/PROTOCOL.md, "Files of a container"), `views` makes its
plans. What is copied is a *source*, an iterator of entries and their content: `walk` (a container), `host` (folders of this machine),
`archive` (a tar). It goes to a *sink*: `put` (a container), `host` again, `archive` again. `upper` finds what a container has changed.

No path of a container is ever opened in this process.
"""
