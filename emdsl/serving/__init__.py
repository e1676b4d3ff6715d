"""Model servers of a study: started, watched, and stopped. Never knows a request, an answer or a key of the store."""
