# SPDX-License-Identifier: Apache-2.0
# namespaces.sh - a network of the test's own: sourced after sh/lib.sh, needs root.
#
# Each node lives in a network namespace with one link to a switch, and so does the client; lib.sh's
# words (node_start, ctl, ...) then run there. Everything is deleted when the test ends.
#
#   net_make N            namespaces n1 .. nN and c; addresses 10.77.0.1 .. N and .100
#   net_cluster_init [N]  its cluster's files in $T/cluster; start the nodes with node_start. N: so
#                         many of them at first; the other namespaces are for nodes to come
#   net_node I            what raftfsctl calls node I: nI=ADDRESS
#   cut_way A B           A's packets to B are lost; B's still arrive
#   cut_link X            nothing reaches X, nothing leaves it
#   cut_off X             nothing of other nodes reaches X, nor X's them; clients reach it
#   net_heal              all links work again

net_tag=rf$$
net_node() { echo "n$1=$(net_address "n$1"):7000"; }
net_address() { case $1 in c) echo 10.77.0.100 ;; *) echo "10.77.0.${1#n}" ;; esac; }

net_make() {
    [ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
    net_size=$1
    net_names="c $(seq -f 'n%g' "$net_size" | tr '\n' ' ')"
    namespaces=$net_tag.s
    ip netns add "$net_tag.s" 2>"$T/.err" || skip "no network namespaces: $(cat "$T/.err")"
    ip -n "$net_tag.s" link add br0 type bridge 2>"$T/.err" ||
        skip "no bridges: $(cat "$T/.err")"
    ip -n "$net_tag.s" link set br0 up
    for x in $net_names; do
        ip netns add "$net_tag.$x" || fail "netns $x"
        namespaces="$namespaces $net_tag.$x"
        ip -n "$net_tag.s" link add "p$x" type veth peer name eth0 netns "$net_tag.$x" ||
            skip "no veth"
        ip -n "$net_tag.s" link set "p$x" master br0 up
        ip -n "$net_tag.$x" addr add "$(net_address "$x")/24" dev eth0
        ip -n "$net_tag.$x" link set eth0 up
        ip -n "$net_tag.$x" link set lo up
    done
}

net_cluster_init() {
    members=
    for i in $(seq "${1:-$net_size}"); do members="$members --node $(net_node "$i")"; done
    # shellcheck disable=SC2086
    raftfsctl init "$T/cluster" $members ${groups:+--groups $groups} >"$T/init.log" || fail "raftfsctl init"
}

cut_way() { ip -n "$net_tag.$1" route add blackhole "$(net_address "$2")/32"; }
cut_link() { ip -n "$net_tag.s" link set "p$1" down; }
cut_off() {
    for x in $net_names; do
        case $x in c | "$1") continue ;; esac
        cut_way "$x" "$1"
        cut_way "$1" "$x"
    done
}
net_heal() {
    for x in $net_names; do
        ip -n "$net_tag.s" link set "p$x" up
        ip -n "$net_tag.$x" route flush type blackhole 2>/dev/null
    done
    :
}
