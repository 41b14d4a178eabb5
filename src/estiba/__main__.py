"""``python -m estiba``: the slower twin of the installed program."""

from estiba.cli.main import entry

if __name__ == "__main__":
    entry()
