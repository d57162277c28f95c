"""The answer table: one LMDB file with one writer and many readers. Only this package imports lmdb."""
