"""The key of an open question and of a cached answer: name in lower case, type, class, and an octet of flags.

The key is one string of octets, because one string is fast to look up. `key[:NAME_END]` is the name,
`key[NAME_END:FLAGS]` the type and class, `key[:FLAGS]` the question, and `key[FLAGS]` the octet of flags as a number.
"""

from typing import Final

ASK_DO: Final = 1  # flag: DNSSEC OK
ASK_CD: Final = 2  # flag: checking disabled
ASK_AD: Final = 4  # flag: the client understands AD (RFC 6840 section 5.7); it isn't part of the key
# Ends of the parts of a key. They aren't slices, because mypyc 2.4 takes every index of bytes for a number.
NAME_END: Final = -5
FLAGS: Final = -1
FLAG_OCTETS: Final = (b"\0", b"\1", b"\2", b"\3") * 2  # flags -> octet of the key; ASK_AD makes no difference
