"""CoreDNS's configuration: a Corefile to the tree that the same configuration has in `config.yaml`.

`tokens` splits a text, `blocks` makes server blocks of it as CoreDNS's own parser does, `directives` is the table of
what each plugin's directive means here, and `translate` joins the blocks to one configuration. Pure: imported files
are texts that the caller has read.
"""
