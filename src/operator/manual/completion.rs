//! A shell's completions: clap's script, and in it the names that only a node knows, pods and
//! namespaces of its records.

use clap_complete::Shell;

/// The script with calls of `braid complete` where such names stand.
pub(super) fn with_names(shell: Shell, script: String) -> String {
    match shell {
        Shell::Bash => script + BASH,
        Shell::Zsh => zsh(&script),
        Shell::Fish => script + FISH,
        _ => script,
    }
}

/// In front of clap's function, which knows no names.
const BASH: &str = r#"
_braid_with_names() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} names=
    case "${COMP_WORDS[1]} $prev" in
        "list -n" | "list --namespace") names=namespaces ;;
        "gc --forget" | "explain --pod" | "attach attach" | "detach detach") names=pods ;;
        *" -"*) ;;
        "show "* | "repair "*) [[ $cur == -* ]] || names=pods ;;
    esac
    if [[ -n $names ]]; then
        COMPREPLY=($(compgen -W "$(braid complete $names 2>/dev/null)" -- "$cur"))
    else
        _braid "$@"
    fi
}

complete -F _braid_with_names -o bashdefault -o default braid
"#;

const FISH: &str = r#"
complete -c braid -n "__fish_braid_using_subcommand list" -s n -l namespace -x -a "(braid complete namespaces 2>/dev/null)"
complete -c braid -n "__fish_braid_using_subcommand show" -f -a "(braid complete pods 2>/dev/null)"
complete -c braid -n "__fish_braid_using_subcommand repair" -f -a "(braid complete pods 2>/dev/null)"
complete -c braid -n "__fish_braid_using_subcommand attach; and test (count (commandline -opc)) -eq 2" -f -a "(braid complete pods 2>/dev/null)"
complete -c braid -n "__fish_braid_using_subcommand detach; and test (count (commandline -opc)) -eq 2" -f -a "(braid complete pods 2>/dev/null)"
complete -c braid -n "__fish_braid_using_subcommand explain" -l pod -x -a "(braid complete pods 2>/dev/null)"
complete -c braid -n "__fish_braid_using_subcommand gc" -l forget -x -a "(braid complete pods 2>/dev/null)"
"#;

/// What zsh calls for a name, in place of its default.
const ZSH: &str = r#"
_braid_namespaces() { compadd -- ${(f)"$(braid complete namespaces 2>/dev/null)"} }
_braid_pods() { compadd -- ${(f)"$(braid complete pods 2>/dev/null)"} }
_braid_pod_first() { (( CURRENT == 1 )) && _braid_pods || _default }
"#;

fn zsh(script: &str) -> String {
    let line = |line: &str| {
        let is_container = line.starts_with("':container -- ");
        let is_pod = ["--forget=[", "--pod=["].iter().any(|option| line.contains(option));
        if line.starts_with("'*::words -- The pod") {
            line.replace(":_default'", ":_braid_pod_first'")
        } else if is_container || is_pod {
            line.replace(":_default'", ":_braid_pods'")
        } else {
            line.replace(":NAMESPACE:_default'", ":NAMESPACE:_braid_namespaces'")
        }
    };
    let lines: Vec<String> = script.lines().map(line).collect();
    let script = lines.join("\n") + "\n";
    // The functions are there before the script calls its own.
    match script.split_once('\n') {
        Some((first, rest)) => format!("{first}\n{ZSH}{rest}"),
        None => script,
    }
}
