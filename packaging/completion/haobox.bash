# bash completion for haobox and its applets. It reads the options and commands
# from "NAME --help", and the names of the applets from "haobox --list"; it runs
# nothing else, so that completing a fence agent cannot fence.

# _haobox_help APPLET [COMMAND]
_haobox_help() {
	if [ "$1" = haobox ]; then shift; fi
	haobox "$@" --help 2>/dev/null </dev/null
}

# _haobox_options APPLET [COMMAND]: the options of its help, a line each.
_haobox_options() {
	_haobox_help "$@" | awk '
		/^[ \t]+-/ {
			sub(/^[ \t]+/, "")
			sub(/(  |\t).*/, "")
			n = split($0, part, /,[ \t]*|\|[ \t]*|[ \t]+or[ \t]+/)
			for (i = 1; i <= n; i++)
				if (match(part[i], /^--?[A-Za-z0-9?][-A-Za-z0-9_]*/))
					print substr(part[i], RSTART, RLENGTH)
		}'
}

# _haobox_commands APPLET: the commands of its help, a line each.
_haobox_commands() {
	_haobox_help "$1" | awk '
		/^COMMANDS:/ { in_list = 1; next }
		/^$/ { in_list = 0 }
		in_list && $1 !~ /^-/ { sub(/,$/, "", $1); print $1 }'
}

_haobox() {
	local cur=${COMP_WORDS[COMP_CWORD]} name=${COMP_WORDS[0]##*/} first=1 command="" words=""
	# "haobox NAME ..." is NAME.
	if [ "$name" = haobox ] && [ "$COMP_CWORD" -gt 1 ] && haobox --list | grep -qxF -- "${COMP_WORDS[1]}"; then
		name=${COMP_WORDS[1]}
		first=2
	fi
	if [ "$COMP_CWORD" -gt "$first" ]; then
		case ${COMP_WORDS[first]} in
		-*) ;;
		*) if _haobox_commands "$name" | grep -qxF -- "${COMP_WORDS[first]}"; then command=${COMP_WORDS[first]}; fi ;;
		esac
	fi
	case $cur in
	-*) words=$(_haobox_options "$name" ${command:+"$command"}) ;;
	*)
		if [ "$COMP_CWORD" = "$first" ]; then
			words=$(_haobox_commands "$name")
			if [ "$name" = haobox ]; then words+=" $(haobox --list)"; fi
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	if [ ${#COMPREPLY[@]} -eq 0 ] && [[ $cur != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

# Every name and alias that this binary answers to, but for resource agents:
# their short names (ip, service) are commands of others.
mapfile -t _haobox_names < <(haobox --list-full 2>/dev/null |
	awk -F '\t' '$5 !~ /share\/cluster/ { print $1; n = split($4, alias, ","); for (i = 1; i <= n; i++) print alias[i] }')
complete -F _haobox haobox "${_haobox_names[@]}"
unset _haobox_names
