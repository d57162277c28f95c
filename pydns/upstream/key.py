"""The key of an open question and of a cached answer: name in lower case, type, class, and an octet of flags.

One string of octets, because it is looked up for each query; its parts are slices with names, which cost nothing.
"""

ASK_DO, ASK_CD = 1, 2  # the flags: DNSSEC OK, checking disabled
ASK_AD = 4  # beside them in a client's question: it understands AD (RFC 6840 section 5.7). Not part of the key
# Parts of a key.
QNAME = slice(None, -5)
TYPE_AND_CLASS = slice(-5, -1)
QUESTION = slice(None, -1)
FLAGS = -1  # as a number
FLAG_OCTETS = (b"\0", b"\1", b"\2", b"\3") * 2  # with ASK_AD and without
