#!/bin/sh
# An exec handler in shell: a batch of changes is a line on stdin, the answer a line on stdout.
#
#   handler = { exec = ["sh", "examples/handlers/append_changes.sh", "data/changes.jsonl"] }
#
# Appends each batch, a JSON array, as a line to a file. If you read the numbers with jq, set
# bigint = "string" in the listener: jq rounds those beyond 2^53.
#
# A batch may be large: give it to other programs on their standard input, as here. Linux takes 128
# KiB for one argument at most. The shell reads one to three MB a second: if you need more, use
# another language.
file=${1:?usage: append_changes.sh FILE}
while IFS= read -r batch; do
    if printf '%s\n' "$batch" >> "$file"; then
        echo true
    else
        echo false
    fi
done
