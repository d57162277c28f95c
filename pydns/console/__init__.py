"""The console: a page for browsers that shows what a running pydns does, in a process of its own. It only reads.

`program` runs the process. It reads the answer table, the workers' counts and recent queries, as the verbs of the
command line do, so the console delays neither the controller nor the workers. `pages` makes the pages, and `page` has
the files for the browser. The verb `serve` passes in the functions of other verbs.
"""
