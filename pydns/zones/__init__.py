"""Zone files: from text to records, and from records to compiled answers. Pure."""
