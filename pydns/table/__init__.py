"""The answer table: one LMDB file with one writer and many readers. The only room that imports lmdb."""
