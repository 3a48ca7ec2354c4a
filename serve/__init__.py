"""HTTP on Ray Serve: routes, wire schemas, event streams, the local service and its clients."""
