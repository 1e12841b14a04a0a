package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help says how to use the script.
func (*completionCmd) Help() string {
	return "bash: source <(dunlin completion bash)\nzsh: source <(dunlin completion zsh)\nfish: dunlin completion fish | source"
}

// Run prints the script of a shell.
func (c *completionCmd) Run(s *session) error {
	words := completions(s.model)
	var b strings.Builder
	switch c.Shell {
	case "bash":
		writeBash(&b, words)
	case "zsh":
		b.WriteString("autoload -Uz bashcompinit && bashcompinit\n")
		writeBash(&b, words)
	case "fish":
		writeFish(&b, words)
	}
	_, err := fmt.Fprint(s.out, b.String())
	return err
}

// completion is what may follow a sequence of commands.
type completion struct {
	path     []string // commands
	commands []string
	helps    []string // of the commands
	flags    []string
}

// completions walks the grammar.
func completions(model *kong.Application) []completion {
	var list []completion
	var walk func(n *kong.Node, path, inherited []string)
	walk = func(n *kong.Node, path, inherited []string) {
		c := completion{path: path, flags: slices.Clone(inherited)}
		for _, f := range n.Flags {
			if !f.Hidden {
				c.flags = append(c.flags, "--"+f.Name)
			}
		}
		for _, child := range n.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				c.commands = append(c.commands, child.Name)
				c.helps = append(c.helps, child.Help)
			}
		}
		list = append(list, c)
		for _, child := range n.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				walk(child, append(slices.Clone(path), child.Name), c.flags)
			}
		}
	}
	walk(model.Node, nil, nil)
	return list
}

func writeBash(b *strings.Builder, words []completion) {
	b.WriteString(`_dunlin() {
  local cur="${COMP_WORDS[COMP_CWORD]}" path="" w
  for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$path $w" in
`)
	for _, c := range words[1:] {
		fmt.Fprintf(b, "      \" %s\") path=\" %s\" ;;\n", strings.Join(c.path, " "), strings.Join(c.path, " "))
	}
	b.WriteString("    esac\n  done\n  local commands=\"\" flags=\"\"\n  case \"$path\" in\n")
	for _, c := range words {
		key := ""
		if len(c.path) > 0 {
			key = " " + strings.Join(c.path, " ")
		}
		fmt.Fprintf(b, "    %q) commands=%q flags=%q ;;\n", key, strings.Join(c.commands, " "), strings.Join(c.flags, " "))
	}
	b.WriteString(`  esac
  if [[ "$cur" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  elif [[ -n "$commands" ]]; then
    COMPREPLY=($(compgen -W "$commands" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _dunlin dunlin
`)
}

func writeFish(b *strings.Builder, words []completion) {
	for _, c := range words {
		condition := "__fish_use_subcommand"
		if len(c.path) > 0 {
			var parts []string
			for _, p := range c.path {
				parts = append(parts, "__fish_seen_subcommand_from "+p)
			}
			if len(c.commands) > 0 {
				parts = append(parts, "not __fish_seen_subcommand_from "+strings.Join(c.commands, " "))
			}
			condition = strings.Join(parts, "; and ")
		}
		for i, name := range c.commands {
			fmt.Fprintf(b, "complete -c dunlin -f -n '%s' -a %s -d '%s'\n", condition, name, strings.ReplaceAll(c.helps[i], "'", `\'`))
		}
		for _, f := range c.flags {
			fmt.Fprintf(b, "complete -c dunlin -n '%s' -l %s\n", condition, strings.TrimPrefix(f, "--"))
		}
	}
}
