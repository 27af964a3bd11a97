"""The machine: what differs from one to the next: proxies, folders, streams, signals, modules of the same name."""
