"""What is counted, where counts are kept, and how they are told. Pure but for the shared memory; time is passed in."""
