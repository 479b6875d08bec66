"""The state at rest: a directory with RocksDB databases, one writer and any number of readers."""
