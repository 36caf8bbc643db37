#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cp -a, tar, mv, ln, chmod, chown, touch, truncate, find, grep, sed -i, rm -rf: results as on a disk.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" || fail "mount"
cd mnt || exit 1

say "a tree goes in by tar and by cp -a and comes out equal"
mkdir "$T/tree" "$T/tree/sub" "$T/tree/empty"
for i in $(seq 50); do head -c $((i * 997)) /dev/urandom >"$T/tree/sub/f$i"; done
ln "$T/tree/sub/f1" "$T/tree/hard"
ln -s sub/f2 "$T/tree/soft"
ln -s /nowhere "$T/tree/dangling"
chmod 640 "$T/tree/sub/f3"
chmod 2755 "$T/tree/empty"
touch -d '2001-02-03 04:05:06.789' "$T/tree/sub/f4"
tar --format=posix -C "$T" -cf - tree | tar xf - || fail "tar x"
diff -r "$T/tree" tree 2>&1 | grep -v dangling && fail "tar: differs"
cp -a tree copy || fail "cp -a"
list() { (cd "$1" && find . -printf '%P %y %m %n %s %T@ %l\n' | grep -v '^ d' | LC_ALL=C sort); }
list "$T/tree" | sed '/ d /s/ [0-9]* [0-9.]* $//' >"$T/want"
list copy | sed '/ d /s/ [0-9]* [0-9.]* $//' >"$T/got"
cmp "$T/want" "$T/got" || { diff "$T/want" "$T/got"; fail "cp -a: attributes differ"; }

say "names and links"
mv copy/sub/f1 copy/moved && [ ! -e copy/sub/f1 ] || fail "mv"
same "$(stat -c %h copy/moved)" 2 "link count"
ln copy/moved copy/third && same "$(stat -c %h copy/hard)" 3 "link count after ln"
rm copy/third && same "$(stat -c %h copy/moved)" 2 "link count after rm"
mkdir -p a/b/c && mv a/b z && [ -d z/c ] && [ ! -e a/b ] || fail "mv of a directory"
same "$(stat -c %h a)" 2 "links of a directory without subdirectories"
same "$(stat -c %h z)" 3 "links of a directory with one"
expect_fail mv z z/c/in -- "subdirectory of itself"
expect_fail rmdir z -- "not empty"

say "attributes"
echo x >f && chmod 4711 f && same "$(stat -c %a f)" 4711 "chmod"
touch -d '1999-12-31 23:59:59.123456789' f
same "$(date -r f +%s.%N)" "$(date -d '1999-12-31 23:59:59.123456789' +%s.%N)" "touch -d"
if [ "$(id -u)" = 0 ]; then
    chown 1234:4321 f && same "$(stat -c %u:%g f)" 1234:4321 "chown"
    same "$(stat -c %a f)" 711 "chown clears set-uid"
fi
truncate -s 100000 f && same "$(stat -c %s f)" 100000 "truncate up"
truncate -s 1 f && same "$(cat f)" x "truncate down"

say "editing and searching"
printf 'one\ntwo\nthree\n' >t
sed -i 's/two/2/' t && same "$(cat t)" "$(printf 'one\n2\nthree')" "sed -i"
echo four >>t && same "$(tail -n 1 t)" four "append"
same "$(grep -rl three . | LC_ALL=C sort)" ./t "grep -r"
echo a >new && mv new t && same "$(cat t)" a "rename over a file"

say "special files and attributes"
mkfifo p && [ -p p ] || fail "mkfifo"
if command -v setfattr >/dev/null; then
    setfattr -n user.colour -v blue t && same "$(getfattr --only-values -n user.colour t)" blue xattr
fi

say "removal"
rm -rf tree copy a z && [ ! -e tree ] || fail "rm -rf"
cd "$T" && unmount "$T/mnt" || fail "unmount"
