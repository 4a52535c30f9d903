#!/bin/sh
# An exec handler in shell: a batch of changes is a line on stdin, the answer a line on stdout.
#
#   handler = { exec = ["sh", "examples/handlers/append_changes.sh", "data/changes.jsonl"] }
#
# Appends each batch, a JSON array, as a line to a file. If you read the numbers with jq, set
# bigint = "string" in the listener: jq rounds those beyond 2^53.
#
# With several workers, several of these processes write to the file. The shell writes a large line
# in pieces, so each process locks the file (flock of util-linux) while it appends. Lines of
# different workers then come in any order; those of one key keep theirs.
#
# A batch may be large: give it to other programs on their standard input, as here. Linux takes 128
# KiB for one argument at most. The shell reads one to three MB a second: if you need more, use
# another language.
file=${1:?usage: append_changes.sh FILE}

# The lock ends with the subshell, also when that is killed. A process that is killed may leave half
# a line, whose batch comes again: a line break ends it.
append() (
    flock 9 || exit
    if [ -f "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo >&9; fi
    printf '%s\n' "$batch" >&9
) 9>> "$file"

while IFS= read -r batch; do
    if append; then
        echo true
    else
        echo false
    fi
done
