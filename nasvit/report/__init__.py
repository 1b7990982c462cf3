"""What people read: tables of results, of search spaces and of costs."""
