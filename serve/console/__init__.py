"""The web console as it is served: the built files of `web/`, and how they are sent."""
