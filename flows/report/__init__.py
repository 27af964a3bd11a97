"""The report: one page of a warehouse, out of SQL, with pictures, players and a listening test."""
