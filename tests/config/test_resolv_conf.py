"""The nameservers of a resolv.conf are read, without those that lead back to pydns.

A pod's file also has a search list.
"""

import pytest

from pydns.config.model import ServerSpec
from pydns.config.resolv_conf import read, read_searching
from pydns.dns import name

OWN = ["10.244.0.7", "fd00:0::7"]


def upstreams(text: str) -> list[str]:
    return [upstream.ip for upstream in read("/etc/resolv.conf", text, OWN).upstreams]


def notices(text: str) -> list[str]:
    return [str(notice) for notice in read("/etc/resolv.conf", text, OWN).notices]


def test_nameservers_are_asked_on_port_53_in_the_order_of_the_file() -> None:
    text = "search shop.svc.cluster.local\nnameserver 10.0.0.2\n nameserver\t10.0.0.3  # second\noptions ndots:5\n"
    assert read("/etc/resolv.conf", text) == ((ServerSpec("10.0.0.2"), ServerSpec("10.0.0.3")), ())


def test_a_resolv_conf_may_have_more_than_three_nameservers() -> None:
    assert len(upstreams("".join([f"nameserver 10.0.0.{i}\n" for i in range(5)]))) == 5


def test_comments_and_repeated_addresses_add_no_nameservers() -> None:
    text = (
        "#nameserver 10.0.0.1\n; nameserver 10.0.0.1\nnameservers 10.0.0.1\n\nnameserver fd00::2\nnameserver FD00:0::2"
    )
    assert upstreams(text) == ["fd00::2"]
    assert notices(text) == []


def test_loopback_addresses_are_left_out_with_a_notice_for_their_line() -> None:
    text = "# by systemd-resolved\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.2\n"
    assert upstreams(text) == ["10.0.0.2"]
    assert notices(text) == [
        "/etc/resolv.conf:2: nameserver left out: 127.0.0.53 is a loopback address, which leads back to pydns;"
        " give the resolv.conf of the node",
        "/etc/resolv.conf:3: nameserver left out: ::1 is a loopback address, which leads back to pydns;"
        " give the resolv.conf of the node",
    ]


def test_our_own_addresses_are_left_out_in_every_spelling() -> None:
    text = "nameserver 10.244.0.7\nnameserver FD00::0007\n"
    assert upstreams(text) == []
    assert notices(text) == [
        "/etc/resolv.conf:1: nameserver left out: 10.244.0.7 is this server's own address",
        "/etc/resolv.conf:2: nameserver left out: FD00::0007 is this server's own address",
    ]


def test_invalid_addresses_are_left_out_with_a_notice() -> None:
    assert notices("nameserver\nnameserver dns.google\nnameserver fd00::1%eth0\n") == [
        '/etc/resolv.conf:1: nameserver left out: "" is not an IP address',
        '/etc/resolv.conf:2: nameserver left out: "dns.google" is not an IP address',
        '/etc/resolv.conf:3: nameserver left out: "fd00::1%eth0" is not an IP address; only a link-local address has a'
        " zone, as in fe80::1%eth0",
    ]


def test_a_link_local_address_keeps_its_zone() -> None:
    assert upstreams("nameserver fe80::1%eth0\nnameserver FE80:0::1%eth1\nnameserver fe80::1%eth0\n") == [
        "fe80::1%eth0",
        "fe80::1%eth1",
    ]


@pytest.mark.parametrize(
    ("text", "domains", "ndots"),
    [
        ("", [], 1),
        ("search a.svc.D svc.d\noptions ndots:5\n", ["a.svc.d.", "svc.d."], 5),
        ("search a\nsearch b c\ndomain e f\n", ["e."], 1),
        ("options timeout:1 ndots:2\noptions ndots:3 ndots:x\n", [], 3),
        ("options ndots:99\noptions ndots:" + "9" * 5000, [], 15),
        ("search . a..b " + "x" * 64 + " good\n; search c\n# options ndots:9\n", [".", "good."], 1),
        ("search " + "a " * 100, ["a."] * 32, 1),
    ],
)
def test_the_last_search_list_and_ndots_count(text: str, domains: list[str], ndots: int) -> None:
    found = read_searching(text)
    assert (list(map(name.to_text, found.domains)), found.ndots) == (domains, ndots)
