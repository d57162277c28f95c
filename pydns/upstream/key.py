"""The key of an open question and of a cached answer: name in lower case, type, class, and an octet of flags.

The key is one string of octets, because the code looks it up for each query. Named slices give the parts of the key.
The names of the slices cost no time.
"""

ASK_DO, ASK_CD = 1, 2  # flags: DNSSEC OK, and checking disabled
ASK_AD = 4  # flag: the client understands AD (RFC 6840 section 5.7); it isn't part of the key
# The parts of a key:
QNAME = slice(None, -5)
TYPE_AND_CLASS = slice(-5, -1)
QUESTION = slice(None, -1)
FLAGS = -1  # the octet as a number
FLAG_OCTETS = (b"\0", b"\1", b"\2", b"\3") * 2  # flags -> octet; ASK_AD makes no difference
