"""The console: a process that serves a page for browsers. The page shows what a running pydns does.

Like the verbs, the console only reads the answer table, the workers' counts and recent queries. So it delays neither
the controller nor the workers. `program` runs the process, `pages` makes the pages, and `page` has the files for the
browser. The verb `serve` passes functions of other verbs to the console.
"""
