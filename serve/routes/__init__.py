"""The routes of the API, one module a subject; `serve.app` puts them together."""
