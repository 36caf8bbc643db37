#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wordcount.sh - a word count as a job on raftfs, beside the tools one would use without it, over the
# same text. Prints, asserts nothing but that the results are the same.
#
#   sh tests/bench/wordcount.sh [MIB] [ROUNDS]     default 200 3; an embedded store of one replica
#
# Shell tools read the text from a local disk. Text comes from the yardstick gentext (SHARED).
. "$(dirname "$0")/../sh/lib.sh"
mib=${1:-200} rounds=${2:-3}
shared=${SHARED:-$top/../shared/bench}
[ -f "$shared/gentext.c" ] || skip "no yardsticks in $shared"
gcc -O2 -o gentext "$shared/gentext.c" -lm || fail "cannot build gentext"
./gentext "$mib" >text || skip "gentext: see above; Debian has word lists, e.g. wamerican"
LC_ALL=C
export LC_ALL
embedded_mount mnt || fail "mount"
cp text mnt/text || fail "copy"

now() { date +%s.%N; }
job() { # NAME MAP
    printf 'input: /text\nmap: %s\nreduce: @count\n' "$2" >"$1.job"
    begin=$(now)
    cp "$1.job" mnt/jobs/ && cat "mnt/jobs/$1/wait" >/dev/null
    took "$3" "$begin"
    cat "mnt/jobs/$1/out/"part-* | awk -F '\t' '{ print $1, $2 }' | sort >result
    cmp -s expected result || fail "$1 counted something else"
}
took() { printf '%s\t%s\n' "$1" "$(echo "$(now) - $2" | bc)" | tee -a times; }

for round in $(seq "$rounds"); do
    begin=$(now)
    tr -cs A-Za-z '\n' <text | sort | uniq -c >out
    took 'tr | sort | uniq -c' "$begin"
    awk 'NF == 2 { print $2, $1 }' out | sort >expected
    half=$(($(stat -c %s text) / 2))
    begin=$(now)
    { head -c "$half" text | tr -cs A-Za-z '\n' | mawk '{ c[$0]++ } END { for (w in c) print w, c[w] }' >a & } 2>/dev/null
    tail -c "+$((half + 1))" text | tr -cs A-Za-z '\n' | mawk '{ c[$0]++ } END { for (w in c) print w, c[w] }' >b
    wait $!
    mawk '{ c[$1] += $2 } END { for (w in c) print w, c[w] }' a b >out
    took 'two parallel mawks' "$begin"
    job "words$round" @words '@words + @count'
    job "tr$round" "tr -cs A-Za-z '\\n'" 'tr + @count'
done
say "medians of $rounds, $mib MiB"
cut -f 1 times | sort -u | while read -r name; do
    awk -F '\t' -v n="$name" '$1 == n { print $2 }' times | sort -g |
        awk -v n="$name" '{ v[NR] = $1 } END { printf "%s\t%.2f s\n", n, v[int((NR + 1) / 2)] }'
done
