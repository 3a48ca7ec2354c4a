"""A probe of a service that runs elsewhere: black box, over HTTP alone, with a report of it."""
