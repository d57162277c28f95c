"""The live configuration: values, what may be written for them, and every mistake at once. Pure: text in, values out.

`read.read` is the door; nothing in here opens a file, asks the API server or keeps the last good configuration.
"""
