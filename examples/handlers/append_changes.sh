#!/bin/sh
# An exec handler in shell: a batch of changes is a line on stdin, the answer a line on stdout.
#
#   handler = { exec = ["sh", "examples/handlers/append_changes.sh", "data/changes.jsonl"] }
#
# Appends each batch, a JSON array, as a line to a file.
file=${1:?usage: append_changes.sh FILE}
while IFS= read -r batch; do
    if printf '%s\n' "$batch" >> "$file"; then
        echo true
    else
        echo false
    fi
done
