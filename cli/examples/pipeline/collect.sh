#!/bin/sh
# Adds the counts of all pieces, the most frequent word first.
set -eu
awk '{ of[$2] += $1 } END { for (word in of) print of[word], word }' count.* | sort -k1,1nr -k2
