"""The console in a real browser. It shows exactly the queries that were asked, and hostile names stay text."""

import os
import signal
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.browser import Browser, chromium, needs_chromium
from tests.running import WEB, Server, is_running
from tests.waiting import PATIENCE_S, until

pytestmark = [pytest.mark.processes]
CONSOLE = ("--console", "127.0.0.1:0")
TAB, LEFT, ENTER = "\ue004", "\ue012", "\ue007"  # keys (WebDriver, section 17.4.2)


def address(server: Server) -> tuple[str, int]:
    line = next(line for line in server.logged("listening for HTTP") if " flag=--console " in line)
    return "127.0.0.1", int(line.rpartition(":")[2])


def status_of(server: Server, host: str) -> int:
    connection = HTTPConnection(*address(server), timeout=PATIENCE_S)
    try:
        connection.request("GET", "/data", headers={"Host": host})
        return connection.getresponse().status
    except OSError:  # the test has just killed the process
        return 0
    finally:
        connection.close()


def ask(server: Server, qname: str, times: int) -> None:
    for _ in range(times):
        assert server.ask(qname) is not None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, start: Callable[..., Server]) -> Iterator[tuple[Browser, Server]]:
    """Yield a browser with the console of a new server. Assert that no policy was violated and no script failed."""
    server = start(flags=CONSOLE)
    browser.open("about:blank")  # leave the page of an earlier test, because its server has ended
    browser.log()
    browser.open("http://{}:{}/".format(*address(server)))
    until(lambda: browser.text("#verdict") == "healthy", found=lambda: browser.text("body"))
    yield browser, server
    assert browser.log() == []


def totals(browser: Browser) -> dict[str, int]:
    """Return the sums of ten minutes in the legend of the chart."""
    return {row[0]: int(row[2].replace(",", "")) for row in browser.rows("#legend") if len(row) == 4}


@needs_chromium
def test_the_chart_counts_exactly_the_queries_that_were_asked(page: tuple[Browser, Server]) -> None:
    browser, server = page
    ask(server, WEB, 30)
    ask(server, "nope.shop.svc.cluster.local", 12)
    until(lambda: totals(browser)["table"] == 42, found=lambda: totals(browser))
    browser.press("b")
    until(lambda: totals(browser) == {"NOERROR": 30, "NXDOMAIN": 12}, found=lambda: totals(browser))


@needs_chromium
def test_a_pasted_error_is_explained_and_hostile_names_stay_text(page: tuple[Browser, Server]) -> None:
    browser, _ = page
    browser.press("/")
    browser.type("#ask-text", "dial tcp: lookup web.shop on 10.96.0.10:53: no such host")
    browser.press(ENTER)
    until(lambda: "10.96.1.1" in browser.text("#answer"), found=lambda: browser.text("#answer"))
    hostile = '<img/src=x/onerror="document.title=1">.shop'
    browser.run("document.getElementById('ask-text').value = arguments[0]", hostile)
    browser.run("document.getElementById('ask').requestSubmit()")
    until(lambda: "<img/src=x/onerror=" in browser.text("#answer"), found=lambda: browser.text("#answer"))
    assert browser.run("return document.images.length") == 0
    assert "pydns" in browser.run("return document.title")
    browser.type("#ask-text", "a..b")
    browser.press(ENTER)
    until(lambda: browser.run("return document.querySelectorAll('#answer .banner.bad').length") == 1)


@needs_chromium
def test_markup_in_the_cluster_stays_text(browser: Browser, start: Callable[..., Server], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text('"<b>key</b>": 1\nttl: 30\n')
    server = start(flags=(*CONSOLE, "--config", str(config)))
    browser.open("http://{}:{}/".format(*address(server)))
    until(lambda: "<b>key</b>" in browser.text("#config-notes"), found=lambda: browser.text("body"))
    assert browser.run("return document.querySelectorAll('#config-notes b').length") == 0
    until(lambda: "1 mistakes" in browser.text("#problems"), found=lambda: browser.text("body"))
    until(lambda: browser.text("#verdict") == "needs a look", found=lambda: browser.text("body"))


@needs_chromium
def test_the_chart_is_used_with_the_keyboard_alone(page: tuple[Browser, Server]) -> None:
    browser, server = page
    ask(server, WEB, 7)
    until(lambda: totals(browser)["table"] == 7)
    for _ in range(20):
        browser.press(TAB)
        if browser.run("return document.activeElement.id") == "plot":
            break

    def has_readout() -> bool:
        browser.press(LEFT)
        return "/s" in browser.text("#readout")

    until(has_readout)
    reached = set()
    for _ in range(30):
        browser.press(TAB)
        reached.add(browser.run("return document.activeElement.id"))
    assert {"ask-text", "ask-from", "ask-type", "config-lines"} <= reached


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_nothing_is_wider_than_the_screen_and_every_text_is_readable(
    page: tuple[Browser, Server], width: int, scheme: str
) -> None:
    browser, server = page
    ask(server, WEB, 3)
    browser.resize(width, 800)
    browser.prefer(scheme)
    until(lambda: totals(browser)["table"] == 3)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(CONTRASTS) == []


# Return the texts whose contrast to their background is too small (WCAG 2.2, 1.4.3: 4.5 to 1, and 3 to 1 if large).
CONTRASTS = """
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map((each) => each / 255).map((each) =>
    each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const back = (node) => {
  for (let each = node; each; each = each.parentElement) {
    const colour = getComputedStyle(each).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
  return 'rgb(255, 255, 255)';
};
const found = [];
for (const node of document.querySelectorAll('body *')) {
  if (![...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim())) continue;
  if (!node.getClientRects().length || node.closest('noscript')) continue;
  const style = getComputedStyle(node);
  const [one, other] = [light(style.color), light(back(node))].sort((a, b) => b - a);
  const ratio = (one + 0.05) / (other + 0.05);
  if (ratio < (parseFloat(style.fontSize) >= 18.6 ? 3 : 4.5)) found.push([node.textContent.slice(0, 40), ratio]);
}
return found;
"""


HOSTILE = "<img/src=x/onerror=document.title=1>.shop.svc.cluster.local"


@needs_chromium
def test_the_latest_queries_are_those_that_were_asked(page: tuple[Browser, Server]) -> None:
    browser, server = page
    ask(server, WEB, 5)
    ask(server, HOSTILE, 2)

    def asked() -> list[list[str]]:
        return [[row[column] for column in (1, 2, 3, 4)] for row in browser.rows("#tail-rows") if len(row) == 7]

    hostile = ["127.0.0.1", f"{HOSTILE}.", "A", "NXDOMAIN"]
    wanted = [hostile] * 2 + [["127.0.0.1", f"{WEB}.", "A", "NOERROR"]] * 5
    until(lambda: asked() == wanted, found=asked)
    assert browser.rows("#top-names") == [[f"{WEB}.", "5", "–"], [f"{HOSTILE}.", "2", "100.0 %"]]
    assert browser.rows("#top-clients") == [["127.0.0.1", "7", "28.6 %"]]
    assert browser.run("return document.images.length") == 0
    browser.press("f")
    browser.type("#filter-text", "ONERROR")
    until(lambda: asked() == [hostile] * 2, found=asked)
    browser.run("document.querySelector('#tail-rows .name + .name button').click()")
    until(lambda: "NXDOMAIN" in browser.text("#answer"), found=lambda: browser.text("#answer"))
    assert f"{HOSTILE}. A" in browser.text("#answer")


@needs_chromium
def test_wasted_queries_are_shown_and_a_pod_is_explained_by_its_name(
    browser: Browser, start: Callable[..., Server], manifests: Path
) -> None:
    (manifests / "slice.yaml").write_text(SLICE)
    server = start(flags=CONSOLE)
    browser.open("http://{}:{}/".format(*address(server)))
    until(lambda: browser.text("#verdict") == "healthy", found=lambda: browser.text("body"))
    for _ in range(3):
        ask(server, "web.shop.batch.svc.cluster.local", 1)
        ask(server, WEB, 1)
    until(lambda: browser.rows("#top-wasted") == [[f"{WEB}.", "3", "3"]], found=lambda: browser.rows("#top-wasted"))
    until(lambda: browser.rows("#tail-rows")[0][1] == "batch/job-0", found=lambda: browser.rows("#tail-rows"))
    browser.type("#ask-text", "web.shop")
    browser.type("#ask-from", "batch/job-0")
    browser.press(ENTER)
    until(lambda: "web.shop.batch.svc.cluster.local." in browser.text("#answer"), found=lambda: browser.text("#answer"))
    assert "10.96.1.1" in browser.text("#answer")


# The tests ask from 127.0.0.1, so this pod is the client.
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: job-1, namespace: batch, labels: {kubernetes.io/service-name: job}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.1], targetRef: {kind: Pod, namespace: batch, name: job-0}}]
ports: []
"""


@needs_chromium
def test_the_page_reports_that_the_console_has_ended(page: tuple[Browser, Server]) -> None:
    browser, server = page
    server.stop()
    until(lambda: browser.text("#verdict") == "no contact", found=lambda: browser.text("body"))
    browser.open("about:blank")
    browser.log()  # the browser logs the refused connections as errors


def test_only_the_console_restarts_when_it_is_killed(start: Callable[..., Server]) -> None:
    server = start(flags=CONSOLE)
    controller, worker, console = server.children()
    until(lambda: status_of(server, "localhost") == 200)
    os.kill(console, signal.SIGKILL)
    until(lambda: not is_running(console))
    assert server.ask(WEB) == "10.96.1.1"
    until(lambda: status_of(server, "localhost") == 200)
    assert server.children()[:2] == [controller, worker]
    assert status_of(server, "evil.example") == 403
    assert server.stop() == 0


def test_without_the_flag_there_is_no_console(start: Callable[..., Server]) -> None:
    server = start()
    assert len(server.children()) == 2
    assert " flag=--console " not in "".join(server.lines)
