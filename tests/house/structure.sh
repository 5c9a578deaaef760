#!/usr/bin/env bash
# Which way the sources point: says what is wrong, and fails, where files or folders include each other in a circle or
# a folder holds too much.
#     tests/house/structure.sh [ROOT]     the folder that has autograd, layers, optim, data and train; by default ours
# A module is NAME.c with NAME.h and NAME_internal.h, whichever of them there are: it is one node among the files, and
# one source in its folder. A folder and the one above it are two.
set -uo pipefail
export LC_ALL=C
cd "${1:-$(dirname "$0")/../..}" || exit 1
most=16 # sources in a folder

mapfile -t files < <(find autograd layers optim data train -type f -name '*.[ch]' 2>/dev/null | sort)
[ ${#files[@]} -gt 0 ] || { echo "$PWD: no sources in autograd, layers, optim, data, train"; exit 1; }

awk -v most=$most '
function module_of(file) { sub(/(_internal)?\.h$|\.c$/, "", file); return file }
function folder_of(file) { sub(/\/[^\/]*$/, "", file); return file }

# An arrow of one of the two graphs, files or folders, and the include that makes it.
function point(graph, from, to, include) {
    if (from == to) return
    if (!((graph, from, to) in includes)) targets[graph, from] = targets[graph, from] to "\n"
    includes[graph, from, to]++
    lines[graph, from, to] = lines[graph, from, to] "        " include "\n"
}

# All that is reached from a node by one arrow or more.
function reach(graph, first, node,    names, n, i) {
    n = split(targets[graph, node], names, "\n")
    for (i = 1; i < n; i++) {
        if ((graph, first, names[i]) in reached) continue
        reached[graph, first, names[i]]
        reach(graph, first, names[i])
    }
}

function print_arrow(graph, from, to,    n) {
    n = includes[graph, from, to]
    printf "    %s -> %s: %d include%s\n", from, to, n, (n > 1 ? "s" : "")
    if (n <= 4) printf "%s", lines[graph, from, to]
}

# Those that reach each other, and the arrows between them.
function print_circle(graph, circle, n,    i, j) {
    printf "a circle of %s:", graph
    for (i = 1; i <= n; i++) printf " %s", circle[i]
    printf "\n"
    for (i = 1; i <= n; i++)
        for (j = 1; j <= n; j++) if ((graph, circle[i], circle[j]) in includes) print_arrow(graph, circle[i], circle[j])
}

function find_circles(graph, nodes, count,    i, j, n, circle, told) {
    for (i = 1; i <= count; i++) reach(graph, nodes[i], nodes[i])
    for (i = 1; i <= count; i++) {
        if (nodes[i] in told || !((graph, nodes[i], nodes[i]) in reached)) continue
        n = 0
        for (j = i; j <= count; j++) {
            if (!((graph, nodes[i], nodes[j]) in reached && (graph, nodes[j], nodes[i]) in reached)) continue
            circle[++n] = nodes[j]
            told[nodes[j]]
        }
        print_circle(graph, circle, n)
        bad = 1
    }
}

FNR == 1 {
    module = module_of(FILENAME)
    folder = folder_of(FILENAME)
    there[FILENAME]
    if (!(folder in sources)) folders[++folder_count] = folder
    if (!seen[module]++) {
        modules[++module_count] = module
        sources[folder]++
    }
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    from[++found] = FILENAME
    to[found] = quoted[2]
    line[found] = FNR
}
END {
    for (i = 1; i <= found; i++) {
        if (!(to[i] in there)) continue
        include = from[i] ":" line[i] ": #include \"" to[i] "\""
        point("files", module_of(from[i]), module_of(to[i]), include)
        point("folders", folder_of(from[i]), folder_of(to[i]), include)
    }
    find_circles("files", modules, module_count)
    find_circles("folders", folders, folder_count)
    for (i = 1; i <= folder_count; i++) {
        if (sources[folders[i]] <= most) continue
        printf "%s has %d sources, at most %d: move those that belong together into a folder below it\n", folders[i],
               sources[folders[i]], most
        bad = 1
    }
    exit bad
}' "${files[@]}"
