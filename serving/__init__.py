"""The server of `bash run.sh serve`: videos come in over HTTP, jobs compute what is in them, results go out as they
come.

`server.Server` holds everything; `app.build_app(server)` is its HTTP side. Nothing here takes a path or URL of a
client.
"""
