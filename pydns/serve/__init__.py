"""The worker: takes queries from sockets and answers them from the answer table.

    udp.UdpPort, tcp.Connection,   a port: receives messages, knows their client, sends replies
    worker.SelfCheck
        │ messages                                                      ▲ replies
        ▼                                                               │
    context.Batch.answer           one transaction for a batch, bugs become SERVFAIL ──► port.Observer (query log,
        │ message                                                       ▲                late queries), if any is on
        ▼                                                               │
    fast.Responder.respond         hit, simple denial, ready answer of upstreams ─────► reply
        │ anything else                                                 ▲
        ▼                                                               │
    strict.StrictResponder         strict parser; FORMERR, NOTIMP, REFUSED ───────────► reply
        │ qname, qtype                                                  ▲
        ▼                                                               │
    follow.Follower.follow         steps: alias, found, followed, denied, additional ─► reply
        │                          (commit.Commit has zones and SOAs; descent walks wildcards, cuts and DNAMEs)
        │ a name that others answer
        ▼
    deferred.Asked                 returned by `respond`; `Batch.defer` takes it
        ▼
    recursion.Recursion.ask ──► upstream.forwarder ──► upstream_sockets ──► servers
        ▲  chain.Chain: an answer leads to another name, here or there        │
        │                                                                     ▼
    deferred.Waiting.answer ◄── upstream.forwarder ◄── upstream_sockets ◄── replies
        └──► port.reply_later, observers

A new transport is a `Port`. A new observer is a row in `worker`. A new way to answer a name is a step in `follow`.
A question that has to wait is returned as `Asked`. Answers that depend on the client take `Port.client`, in `fast` and
`strict`.
"""
