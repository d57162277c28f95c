"""Reads zone files: parses the text to records, and compiles the records to answers. Pure."""
