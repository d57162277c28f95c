"""Label selectors have the same meaning as for `kubectl -l`."""

import pytest

from pydns.config import selector

LABELS = {"app": "web", "tier": "front", "empty": "", "example.com/team": "shop"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("  ", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web", True),
        ("app=db", False),
        ("missing=web", False),
        ("empty=", True),
        ("app=", False),
        ("app!=db", True),
        ("app!=web", False),
        ("missing!=web", True),
        ("app in (web,db)", True),
        ("app in ( db , web )", True),
        ("app in(db)", False),
        ("missing in (db)", False),
        ("empty in (,x)", True),
        ("app notin (db)", True),
        ("app notin (web,db)", False),
        ("missing notin (web)", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("! app", False),
        ("in", False),
        ("example.com/team=shop", True),
        ("app=web,tier=front", True),
        ("app=web,tier=back", False),
        ("app in (web,db),tier notin (back,side),!missing", True),
        ("app in (web,db),missing", False),
    ],
)
def test_selector_matches_as_kubectl_does(text: str, expected: bool) -> None:
    assert selector.parse(text).matches(LABELS) is expected


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("app=web,", "'' is not a requirement; wanted key, !key, key=value"),
        ("a b", "'a b' is not a requirement"),
        ("=web", "'=web' is not a requirement"),
        ("!app=web", "'!app=web' is not a requirement"),
        ("app in web", "'app in web' is not a requirement"),
        ("app in (web", "'app in (web' is not a requirement"),
        ("app>1", "'app>1' is not a requirement"),
        ("app=a=b", "'app=a=b' is not a requirement"),
        ("-app=web", "'-app' is not a label key"),
        ("a/b/c=web", "'a/b/c' is not a label key"),
        (f"{'k' * 64}=web", "is not a label key"),
        ("app=wéb", "'wéb' is not a label value"),
        ("app in (web,-db)", "'-db' is not a label value"),
        (f"app={'v' * 64}", "is not a label value"),
    ],
)
def test_the_error_for_a_bad_selector_names_the_bad_part(text: str, quoted: str) -> None:
    with pytest.raises(selector.BadSelector) as refused:
        selector.parse(text)
    assert quoted in str(refused.value)


def test_a_service_selects_only_pods_that_have_all_labels_of_its_selector() -> None:
    assert selector.selects({"app": "web"}, LABELS)
    assert selector.selects({"app": "web", "tier": "front"}, LABELS)
    assert not selector.selects({"app": "web", "tier": "back"}, LABELS)
    assert not selector.selects({"missing": ""}, LABELS)
