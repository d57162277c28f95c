"""The key of an open question and of a cached answer: the name in lower case, type, class, and an octet of flags.

The key is one string of octets, because looking up one string takes little time. `key[:NAME_END]` is the name,
`key[NAME_END:FLAGS]` are type and class, `key[:FLAGS]` is the question, and `key[FLAGS]` is the octet of flags as a
number.
"""

from typing import Final

ASK_DO: Final = 1  # flag: the query has DO (DNSSEC OK)
ASK_CD: Final = 2  # flag: the query has CD (checking disabled)
ASK_AD: Final = 4  # flag: the client understands AD (RFC 6840 section 5.7); this flag isn't part of the key
# Where the parts of a key end. Slice objects can't be used, because mypyc 2.4 treats every index of bytes as a number.
NAME_END: Final = -5
FLAGS: Final = -1
FLAG_OCTETS: Final = (b"\0", b"\1", b"\2", b"\3") * 2  # flags -> the last octet of the key; ASK_AD makes no difference
