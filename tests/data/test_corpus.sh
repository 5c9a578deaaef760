#!/usr/bin/env bash
# A corpus as it lies on disk: compressed, binary, hidden, damaged files; JSON in all its spellings. What zcat, zstdcat,
# xzcat and bzcat give is what must be read. $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"
prepare() { "$mla" prepare --tokenizer bytes --held-out 0.2 "$@"; }

# same A B: both are sources that give the same token file, bit for bit.
same() {
    prepare "$1" --out a.h5 >said 2>&1 || fail "$1: $(cat said)"
    prepare "$2" --out b.h5 >said 2>&1 || fail "$2: $(cat said)"
    cmp -s a.h5 b.h5 || fail "$1 and $2 are not the same"
}

# ---- compressed text

mkdir plain packed
for i in $(seq 24); do seq -f "line %g of document $i" $((i * 40)) >"plain/$(printf %02d "$i")"; done
for i in 01 02 03; do gzip <"plain/$i" >"packed/$i.GZ"; done
for i in 04 05 06; do zstd -q <"plain/$i" >"packed/$i.zst"; done
for i in 07 08 09; do xz <"plain/$i" >"packed/$i.xz"; done
for i in 10 11 12; do bzip2 <"plain/$i" >"packed/$i.bz2"; done
{ head -c 700 plain/13 | gzip; tail -c +701 plain/13 | gzip -1; } >packed/13.gz # several members
{ head -c 700 plain/14 | zstd -q; tail -c +701 plain/14 | zstd -q --no-check; } >packed/14.zst
{ head -c 700 plain/15 | xz; tail -c +701 plain/15 | xz; } >packed/15.xz
{ head -c 700 plain/16 | bzip2; : | bzip2; tail -c +701 plain/16 | bzip2; } >packed/16.bz2
{ cat plain/17 | gzip; head -c 512 /dev/zero; } >packed/17.gz # as a tape ends
{ printf '\x50\x2a\x4d\x18\x03\0\0\0abc'; zstd -q <plain/18; } >packed/18.zst # with a frame to skip
gzip <plain/19 >packed/19.txt # whatever it is called
zstd -q <plain/20 >packed/20
cp plain/21 packed/21.gz # somebody has decompressed it under its name
{ printf '\xef\xbb\xbf'; cat plain/22; } >packed/22 # a byte-order mark
{ printf '\xef\xbb\xbf'; cat plain/23; } | gzip >packed/23.gz
cp plain/24 packed
same plain packed
for file in packed/0[1-3]* packed/13* packed/17*; do zcat "$file" 2>/dev/null; done >zcat.txt
for file in packed/0[1-3]* packed/13* packed/17*; do cat "plain/$(basename "$file" | head -c 2)"; done | cmp - zcat.txt || fail "zcat differs"
[ "$(zstdcat packed/18.zst | md5sum)" = "$(md5sum <plain/18)" ] || fail "zstdcat differs"
same plain/14 packed/14.zst
seq 300000 >large.txt
zstd -q --long=27 large.txt -o large.zst
same large.txt large.zst
rm -f large.*

# ---- what is no text

mkdir left
cp plain/0* left
mkdir left/.git left/sub
echo "ref: refs/heads/main" >left/.git/HEAD
echo "not text" >left/._01
echo "not text" >left/sub/.DS_Store
printf '\x89PNG\r\n\x1a\n\0\0\0\rIHDR' >left/image.png
tar -cf - plain | gzip >left/plain.tar.gz
(cd plain && tar -cf ../left/sub/plain.tar 01)
printf '\xff\xfeh\0i\0\n\0' >left/utf16.txt
printf '%%PDF-1.4\n1 0 obj\n' >left/a.pdf
head -c 3000 /dev/urandom | tr -d '\0' >left/random
mkdir zeros
cp plain/0* zeros
same zeros left
printed=$(prepare left --out a.h5 2>&1)
[[ $printed == *"left out, files that hold no text: 6, left/a.pdf (a PDF document), left/image.png (binary), left/plain.tar.gz (a tar archive) and 3 more"* ]] ||
    fail "what is no text: $printed"
[[ $printed == *"left out, hidden files and folders: 3, left/._01, left/.git, left/sub/.DS_Store"* ]] || fail "hidden: $printed"
same zeros 'left/*' # a glob is a folder's kind
same zeros/01 left/01
check 0 "" prepare left/._01 --held-out 0 --out a.h5
check 1 "left/image.png: is binary, not text" prepare left/image.png --out a.h5
check 1 "left/plain.tar.gz: is a tar archive, not text; unpack it: tar -x" prepare left/plain.tar.gz --out a.h5
check 1 "left/utf16.txt: is UTF-16, not text; convert it: iconv -f UTF-16 -t UTF-8" prepare left/utf16.txt --out a.h5
mkdir images
cp left/image.png left/a.pdf images
check 2 "there is no text in images/a.pdf and the others: what is not empty is no text" prepare images --out a.h5
printf 'PAR1\x15\0\x15\x04PAR1' >left/table.parquet
check 1 "left/table.parquet: is Parquet, not text; convert it: python3" prepare left --out a.h5
echo "PAR1 is how this text begins." >left/table.parquet
check 0 "documents        10" prepare left --out a.h5

# text in other encodings is text
mkdir encodings
printf 'Gr\xf6\xdfe, na\xefve, \xa31\n' >encodings/latin1
printf '\x93\xfa\x96{\x8c\xea\x82\xcc\x95\xb6\n' >encodings/shift-jis
printf '\x1b$BF|K\\8l\x1b(B\n' >encodings/iso-2022-jp
printf 'N\bNA\bAM\bME\bE\n\f\v\x1a' >encodings/overstrike
check 0 "documents        4" prepare encodings --out a.h5

# ---- damaged

gzip <plain/24 >whole.gz
zstd -q <plain/24 >whole.zst
xz <plain/24 >whole.xz
bzip2 <plain/24 >whole.bz2
for kind in gzip:gz zstd:zst xz:xz bzip2:bz2; do
    name=damaged/x.${kind#*:}
    whole=whole.${kind#*:}
    mkdir damaged
    for bytes in 20 300 $(($(stat -c %s "$whole") - 1)); do
        head -c "$bytes" "$whole" >"$name"
        check 1 "$name: its ${kind%:*} data is cut off" prepare damaged --out no.h5
    done
    cp "$whole" "$name"
    printf 'zzzz' | dd of="$name" bs=1 seek=$(($(stat -c %s "$whole") - 4)) conv=notrunc status=none
    check 1 "$name: its ${kind%:*} data is damaged" prepare damaged --out no.h5
    { cat "$whole"; echo "garbage behind the end of it"; } >"$name"
    check 1 "$name: its ${kind%:*} data is damaged" prepare "$name" --out no.h5
    : >"$name"
    check 1 "$name: is named as compressed data, but holds none" prepare damaged --out no.h5
    rm -r damaged
done
zstd -q --train plain/* --maxdict=1024 -o dictionary 2>/dev/null
zstd -q -D dictionary <plain/24 >x.zst
check 1 "x.zst: was compressed with a dictionary, which it does not hold: decompress it first, by zstd -d -D" prepare x.zst --out no.h5
zstd -q --ultra -22 --long=31 <plain/24 >x.zst
check 1 "x.zst: needs more than 128 MiB of memory: decompress it first, by zstd -d --long=31" prepare x.zst --out no.h5
[ ! -e no.h5 ] || fail "a token file is there after an error"

# ---- JSON

mkdir json spelled
for i in $(seq 20); do printf '{"text": "Object [%d] says {\\"hi\\"}: \\\\", "id": [%d, {}]}\n' "$i" "$i"; done >lines
split -l 4 -a 1 lines json/
for name in json/?; do mv "$name" "$name.jsonl"; done
cp json/a.jsonl spelled/a.NDJSON
gzip <json/b.jsonl >spelled/b.JsonL.gz
zstd -q <json/c.jsonl >spelled/c.jsonlines.zst
{ printf '\xef\xbb\xbf'; cat json/d.jsonl; } >spelled/d.json
{ printf ' [\n'; sed '$!s/$/ ,/' json/e.jsonl; printf ']\n\n'; } | xz >spelled/e.json.xz
same json spelled
"$mla" data show spelled/e.json.xz --format auto --samples 1 | grep -q '⟦bject \[17\] says {"hi"}: \\<|endoftext|>⟧$' || fail "an array"
printf '{\n  "text": "is in lines"\n}\n\n { "text":\n"a } in it" }' >objects.json
"$mla" data show objects.json --format auto | grep '⟦' | tr -d '\n' >shown
grep -q '^i⟦s in lines<|endoftext|>⟧a⟦ } in it<|endoftext|>⟧$' shown || fail "objects over several lines: $(cat shown)"
printf '{\n  "text": "one"\n}\n{\n  "other": "two"\n}' >objects.json
check 1 'objects.json:4: no field "text"' prepare objects.json --held-out 0 --out no.h5
for other in '{\n  "name": "package"\n}\n' '{\n  "text": "no end"\n' '{\n  "text": "a"\n}\nand more'; do
    printf "$other" >one.json
    "$mla" data show one.json --format auto | grep -q '⟦' || fail "JSON that is no record"
    "$mla" data show one.json --format auto --json | grep -q '"text":"{\\n' || fail "is not a text itself: $other"
done
printf '[{"text": "a"},\n {"other": 1}]' >no.json
check 1 'no.json:2: no field "text"' prepare no.json --held-out 0 --out no.h5
printf '[{"text": "a"}\n' >no.json
check 1 'no.json:2: the array has no end' prepare no.json --held-out 0 --out no.h5
printf '[{"text": "a"}\n{"text": "a"}]' >no.json
check 1 'no.json:2: expected , or ] behind an object' prepare no.json --held-out 0 --out no.h5
printf '[{"text": "a"}, {"text": ' >no.json
check 1 'no.json:1: this object has no end: the array is cut off' prepare no.json --held-out 0 --out no.h5
printf '[{"text": "a"}, 5]' >no.json
check 1 'no.json:1: not a JSON object' prepare no.json --held-out 0 --out no.h5
printf '[{"text": "a"}] x' >no.json
check 1 'no.json:1: something stands behind the array' prepare no.json --held-out 0 --out no.h5
printf '[{"prompt": "a", "completion": "b"},\n{"prompt": "c", "completion": "d"}]' | gzip >chats.json.gz
check 0 "documents        2" prepare chats.json.gz --format chat --held-out 0 --out a.h5

finish
