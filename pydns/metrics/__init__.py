"""The counts, the memory that holds them, and metrics as text. Pure but for the shared memory; time is passed in."""
