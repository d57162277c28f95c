"""Translates a Corefile, the configuration of CoreDNS, to the tree of an equivalent `config.yaml`.

- `tokens` splits a text into words.
- `blocks` builds server blocks from the words, as CoreDNS's own parser does.
- `directives` is a table: it defines the meaning of each directive in pydns.
- `translate` joins the blocks to one configuration.

This package is pure: it opens no files. The caller reads the imported files and passes their texts in.
"""
