"""After an audit, the delivered objects equal the server's objects, whatever happened to the list and the watch."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.reflector import Failure, ListPage, Reflector, Step, Wait, Watch
from tests.fakes.cluster import Change, Cluster, Expired, change_line, event_line, selector, status_body

EVERYTHING = selector("", "")


class Consumer:
    """The objects of a receiver that applies events in the way that `kube.events` describes."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], str] = {}
        self.listing: dict[tuple[str, str], str] | None = None

    def take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Init():
                    self.listing = {}
                case InitApply(observed):
                    assert self.listing is not None
                    self.listing[observed.ref.namespace, observed.ref.name] = observed.resource_version
                case InitDone():
                    assert self.listing is not None
                    self.objects, self.listing = self.listing, None
                case Apply(observed):
                    assert self.listing is None
                    self.objects[observed.ref.namespace, observed.ref.name] = observed.resource_version
                case Delete(ref):
                    assert self.listing is None
                    self.objects.pop((ref.namespace, ref.name), None)


class World:
    """A cluster, a reflector and the wire between them. The wire holds bytes of the open watch that are in flight."""

    def __init__(self, watch_list: bool) -> None:
        self.cluster = Cluster()
        self.cluster.on_change = self.changed
        self.reflector = Reflector(Kind.SERVICE, Random(1), watch_list=watch_list)
        self.consumer = Consumer()
        self.now = 0.0
        self.wire: bytes | None = None  # None means that no watch is open
        self.backup = self.cluster.backup()

    def changed(self, change: Change) -> None:
        if self.wire is not None and change.kind == "Service":
            self.wire += change_line(change, EVERYTHING)

    def take(self, step: Step) -> None:
        self.consumer.take(step.events)
        if step.over:
            self.wire = None

    def do(self, action: tuple[str, int]) -> None:
        verb, number = action
        name = f"s{number}"
        match verb:
            case "apply":
                metadata = {"namespace": "d", "name": name}
                self.cluster.apply("Service", {"metadata": metadata, "spec": {"clusterIP": "10.0.0.1"}})
            case "break":
                raw = b'{"metadata":{"namespace":"d","name":"%b","resourceVersion":"$VERSION"},"spec":7}'
                self.cluster.apply_raw("Service", "d", name, raw % name.encode())
            case "delete":
                if ("d", name) in self.cluster.objects["Service"]:
                    self.cluster.delete("Service", "d", name)
            case "drop":
                self.cluster.drop_next_events(number)
            case "compact":
                self.cluster.compact()
            case "back up":
                self.backup = self.cluster.backup()
            case "restore":
                self.cluster.restore(self.backup)
            case "bookmark":
                if self.wire is not None:
                    self.wire += self.cluster.bookmark("Service")
            case "error":
                if self.wire is not None:
                    self.wire += event_line("ERROR", status_body([410, 500, 429, 403][number % 4], "", "no"))
            case "garbage":
                if self.wire is not None:
                    self.wire += b"<html>\n"
            case "cut":
                if self.wire is not None:
                    self.arrive(len(self.wire) // 2)
                if self.wire is not None:
                    self.wire = None
                    failure = list(Failure)[number % 3]
                    self.take(self.reflector.on_failure(failure, "cut", self.now))
            case "arrive":
                self.arrive(number * 40)
            case "step":
                self.step(fails=False)
            case "fail":
                self.step(fails=True)
            case "audit":
                self.audit()

    def arrive(self, count: int) -> None:
        if self.wire:
            data, self.wire = self.wire[:count], self.wire[count:]
            self.take(self.reflector.on_data(data, self.now))

    def step(self, *, fails: bool) -> None:
        """Perform the next request, unless a request is open."""
        if self.wire is not None:
            return
        request = self.reflector.next_request(self.now)
        if isinstance(request, Wait):
            self.now += request.seconds
        elif fails:
            self.take(self.reflector.on_status(503, b"", None, self.now))
        elif isinstance(request, ListPage):
            try:
                body = self.cluster.list_page("Service", 2, request.continue_)
            except Expired:
                self.take(self.reflector.on_status(410, b"", None, self.now))
            else:
                self.take(self.reflector.on_page(body, self.now))
        else:
            assert isinstance(request, Watch)
            self.wire = b""
            if request.send_initial_events:
                self.wire = b"".join(self.cluster.initial_events("Service", EVERYTHING))
            else:
                try:
                    changes = self.cluster.changes_since("Service", int(request.resource_version))
                    self.wire = b"".join(change_line(change, EVERYTHING) for change in changes)
                except Expired:
                    self.wire = event_line("ERROR", status_body(410, "Expired", "too old"))
            self.take(self.reflector.on_open(self.now))

    def settle(self) -> None:
        """Let everything in flight arrive, until the reflector watches and nothing more happens."""
        for _ in range(50):
            self.step(fails=False)
            self.arrive(1 << 20)
        assert self.wire == b""

    def audit(self) -> None:
        audit = self.reflector.begin_audit()
        if audit is not None:
            while (page := audit.next_request()) is not None:
                audit.on_page(self.cluster.list_page("Service", 2, page.continue_, metadata_only=True))
            self.arrive(1 << 20)
            step = self.reflector.end_audit(audit, self.now)
            if step.over and self.wire is not None:
                self.wire = None
                self.reflector.on_failure(Failure.CLOSED, "interrupted", self.now)


VERBS = (
    *("apply", "apply", "apply", "break", "delete", "delete", "drop", "compact", "back up", "restore"),
    *("bookmark", "error", "garbage", "cut", "arrive", "arrive", "step", "step", "step", "fail", "audit"),
)


@given(st.booleans(), st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 7)), max_size=60))
def test_delivered_objects_equal_the_cluster_after_an_audit(watch_list: bool, actions: list[tuple[str, int]]) -> None:
    world = World(watch_list)
    for action in actions:
        world.do(action)
    world.cluster.drop_next_events(0)
    world.settle()
    world.audit()
    world.settle()
    assert world.consumer.objects == world.cluster.versions("Service")
    # The reflector also follows later changes.
    world.do(("apply", 0))
    world.settle()
    assert world.consumer.objects == world.cluster.versions("Service")
