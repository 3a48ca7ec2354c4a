"""Personal data in text: what finds it, how sure that is, and what is told of it."""
