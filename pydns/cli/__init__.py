"""The command `pydns`: one file a verb, and the words that `explain` has for its reasons."""
