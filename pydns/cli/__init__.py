"""The command `pydns`: one file per verb, and the reasons that `explain` prints."""
