"""Reports: tables of results, of search spaces and of costs."""
