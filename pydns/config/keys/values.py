"""Defines shapes of single values that several groups of keys share."""

from pydns.config import texts
from pydns.config.shapes import Text, Whole

MAX_TTL_S = 7 * 24 * 3600  # a week, the limit of TTLs that RFC 8767 (section 4) recommends
DOMAIN = Text(texts.DOMAIN, texts.parse_domain)
TTL = Whole(0, MAX_TTL_S)
PATH = Text("an absolute path", texts.parse_path)
