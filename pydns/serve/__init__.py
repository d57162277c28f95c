"""The worker: takes queries from sockets and answers them from the answer table.

    udp.UdpPort, tcp.StreamPort,   a port: receives messages, knows their client, sends replies
    worker.SelfCheck               (UDP: response_rate may truncate or drop a reply)
        │ messages                                                      ▲ replies
        ▼                                                               │
    context.Batch.answer           one transaction for a batch, bugs become SERVFAIL ──► port.Observer (ring, query
        │ message                                                       ▲              log, late queries), if one is on
        ▼                                                               │
    guards, in this order; `Batch.set_guards` leaves out those that the configuration doesn't need:
    access.AccessList              `acl`: is the client answered at all? ─────────────► reply
    views.Views                    a view touches the question: to strict, with the rules of the view
    gate.Gate                      another rule touches the question: to strict
        │ message                                                       ▲
        ▼                                                               │
    fast.Responder.respond         hit (also of a client class), simple denial, cached answer of upstreams ► reply
        │ anything else                                                 ▲
        ▼                                                               │
    strict.StrictResponder         strict parser; FORMERR, NOTIMP, REFUSED; extras (ANY, class CH, NSID) ──► reply
        │ qname, qtype                                                  ▲
        ▼                                                               │
    follow.Follower.follow         steps: rules, found, alias, followed, denied, additional ───────────────► reply
        │                          (commit.Commit has zones, SOAs, client classes and rules.Rules;
        │                          descent finds wildcards, cuts and DNAMEs)
        │ a name that upstreams answer
        ▼
    deferred.Asked                 returned by `respond`; `Batch.defer` takes it
        ▼
    recursion.Recursion.ask ──► upstream.families, with `families` or `dns64` ──► upstream.forwarder
        ▲  chain.Chain: an answer leads to another name, ours or not          │
        │                                                                     ▼
        │                                         upstream_sockets ◄──► servers
        │                                                                     │
    deferred.Waiting.answer ◄── upstream.families ◄── upstream.forwarder ◄────┘
        └──► port.reply_later, observers

To add a transport, write a subclass of `Port`. To add an observer, add it to the tuple in `worker`. To add a way to
answer a name, add a step in `follow`. To add a condition on the client, add a guard in `Batch.set_guards`. For a
question that has to wait, the responder returns an `Asked`. If an answer depends on the client, it belongs to a client
class (`pydns.table.client_classes`). `commit.Commit` finds the classes by `Port.address`.
"""
