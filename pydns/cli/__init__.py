"""The command `pydns`. Each verb has its own module. `reasons` builds the reasons that `explain` prints."""
