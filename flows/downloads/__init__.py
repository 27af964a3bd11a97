"""Downloads: the archives that corpora come in, fetched, verified and unpacked, however often it is interrupted."""
