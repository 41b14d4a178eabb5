"""``estiba completion``: the script that teaches a shell to complete commands, flags and image names.

The scripts are short: each hands the line to ``estiba __complete``, which knows the same declarations as the parser.
"""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

# readline ends words at colons and equals signs (COMP_WORDBREAKS): what stands before them must not come again.
_BASH = r"""# bash completion for estiba: source <(estiba completion bash)
_estiba() {
    local candidate line=${COMP_LINE:0:COMP_POINT}
    local last=${line##*[[:space:]]}
    local before=${last%"${last##*[:=]}"}
    [[ $last == *[:=]* ]] || before=
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        case $candidate in
            :file) compopt -o default ;;
            :folder) compopt -o dirnames ;;
            *=) compopt -o nospace; COMPREPLY+=("${candidate#"$before"}") ;;
            *) COMPREPLY+=("${candidate#"$before"}") ;;
        esac
    done < <(command estiba __complete "$line" 2>/dev/null)
}
complete -F _estiba estiba
"""
_ZSH = r"""#compdef estiba
# zsh completion for estiba: estiba completion zsh > "${fpath[1]}/_estiba"
_estiba() {
    local candidate description
    local -a found
    while IFS=$'\t' read -r candidate description; do
        case $candidate in
            :file) _files; return ;;
            :folder) _files -/; return ;;
            *) found+=("${candidate//:/\\:}${description:+:$description}") ;;
        esac
    done < <(command estiba __complete "${(j: :)words[1,CURRENT]}" 2>/dev/null)
    _describe -V estiba found
}
if [ "$funcstack[1]" = _estiba ]; then _estiba "$@"; else compdef _estiba estiba; fi
"""
_FISH = r"""# fish completion for estiba: estiba completion fish > ~/.config/fish/completions/estiba.fish
function __estiba_complete
    for candidate in (command estiba __complete (commandline -cp) 2>/dev/null)
        switch $candidate
            case :file
                __fish_complete_path (commandline -ct)
            case :folder
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $candidate
        end
    end
end
complete -c estiba -f -a '(__estiba_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def _run(_context: Context, found: Invocation) -> int:
    shell = found.arguments[0]
    if shell not in SCRIPTS:
        raise InvalidArgument(f"cannot complete in {shell!r}: unknown shell", hint="valid values: " + ", ".join(SCRIPTS))
    output.write(SCRIPTS[shell])
    return 0


COMMAND = Command(
    "completion",
    "Print the completion script for bash, zsh or fish",
    _run,
    usage="bash|zsh|fish",
    examples=[
        ("source <(estiba completion bash)", "for this bash"),
        ("estiba completion fish > ~/.config/fish/completions/estiba.fish", "for every fish"),
    ],
    least=1,
    most=1,
)
