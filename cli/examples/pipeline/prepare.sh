#!/bin/sh
# Makes PIECES files of random words, the same ones each time.
set -eu
awk -v pieces="$PIECES" 'BEGIN {
    seed = 7
    words = split("queue job task array shim daemon grant slot", word, " ")
    for (line = 0; line < 4000; line++)
        print word[int(random() * random() * words) + 1] >("piece." line % pieces)
}
# The numbers of every awk are its own; these are not.
function random() { seed = seed * 16807 % 2147483647; return seed / 2147483647 }'
