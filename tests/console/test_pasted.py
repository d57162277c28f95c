"""Texts that a developer may paste into the console, each with the question that the console finds in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydns.console.pasted import Pasted, parse


@pytest.mark.parametrize(
    ("text", "name", "rtype"),
    [
        ("db.shop", "db.shop", ""),
        ("  db.shop.svc.cluster.local. \n", "db.shop.svc.cluster.local.", ""),
        ("web.shop AAAA", "web.shop", "AAAA"),
        ("a", "a", ""),
        ("10.96.0.10", "10.96.0.10", ""),
        ("http://web.shop:8080/cart?x=1", "http://web.shop:8080/cart?x=1", ""),
        ("postgres://app@db.data/app", "postgres://app@db.data/app", ""),
        ("dig @10.96.0.10 +short SRV _http._tcp.web.shop.", "_http._tcp.web.shop.", "SRV"),
        ("curl -v http://web.shop/", "http://web.shop/", ""),
        ("nslookup db.shop", "db.shop", ""),
        ("getent hosts db.shop", "db.shop", ""),
        ("dial tcp: lookup db.shop on 10.96.0.10:53: no such host", "db.shop", ""),
        ("lookup db.shop: i/o timeout", "db.shop", ""),
        ("Error: getaddrinfo ENOTFOUND db.shop", "db.shop", ""),
        ("getaddrinfo EAI_AGAIN db.shop db.shop:5432", "db.shop", ""),
        ("java.net.UnknownHostException: db.shop: Name or service not known", "db.shop", ""),
        ("curl: (6) Could not resolve host: db.shop", "db.shop", ""),
        ('could not translate host name "db.shop" to address: Name or service not known', "db.shop", ""),
        ("ping: bad address 'db.shop'", "db.shop", ""),
        ("wget: unable to resolve host address ‘db.shop’", "db.shop", ""),
        ("** server can't find db.shop.default.svc.cluster.local: NXDOMAIN", "db.shop.default.svc.cluster.local", ""),
        ("HTTPConnectionPool(host='db.shop', port=80): Max retries exceeded", "db.shop", ""),
        ("", "", ""),
        ("dig +short", "", ""),
    ],
)
def test_a_pasted_text_is_reduced_to_its_question(text: str, name: str, rtype: str) -> None:
    assert parse(text) == Pasted(name, rtype)


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    parse(text)
