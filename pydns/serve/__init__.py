"""The worker: takes queries from sockets and answers them from the answer table.

    udp.UdpPort, tcp.Connection,   a port: receives messages, knows their client, sends replies
    worker.SelfCheck
        │ messages                                                      ▲ replies
        ▼                                                               │
    context.Batch.answer           one transaction for a batch, bugs become SERVFAIL ──► port.Observer (query log,
        │ message                                                       ▲                late queries), if one is on
        ▼                                                               │
    fast.Responder.respond         hit, simple denial, cached answer of upstreams ────► reply
        │ anything else                                                 ▲
        ▼                                                               │
    strict.StrictResponder         strict parser; FORMERR, NOTIMP, REFUSED ───────────► reply
        │ qname, qtype                                                  ▲
        ▼                                                               │
    follow.Follower.follow         steps: alias, found, followed, denied, additional ─► reply
        │                          (commit.Commit has zones and SOAs; descent walks wildcards, cuts and DNAMEs)
        │ a name that upstreams answer
        ▼
    deferred.Asked                 returned by `respond`; `Batch.defer` takes it
        ▼
    recursion.Recursion.ask ──► upstream.forwarder ──► upstream_sockets ──► servers
        ▲  chain.Chain: an answer leads to another name, ours or not          │
        │                                                                     ▼
    deferred.Waiting.answer ◄── upstream.forwarder ◄── upstream_sockets ◄── replies
        └──► port.reply_later, observers

To add a transport, write a subclass of `Port`. To add an observer, add it to the tuple in `worker`. To add a way to
answer a name, add a step in `follow`. The responder returns a question that has to wait as `Asked`. An answer that
depends on the client is one of a client class (`pydns.table.client_classes`). `commit.Commit` finds the classes by
`Port.address`.
"""
