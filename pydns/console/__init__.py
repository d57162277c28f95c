"""The console: a page for browsers that shows what a running pydns does, in a process of its own.

The console only reads: the answer table, the workers' counts and recent queries, as the verbs of the command line do.
So the console delays neither the controller nor the workers. `program` runs the process, `pages` makes the pages, and
`page` has the files for the browser. The verb `serve` passes functions of other verbs to the console.
"""
