"""The page and its server: bottle for the two addresses, waitress to answer them; both small and without dependencies."""

import errno

from converters.errors import CaffeError
from repro.pages import render

THREADS = 8  # that take requests; one photograph is labelled at a time whatever their number
# The page has its style and script inside, and asks nobody but this server.
POLICY = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


def application(labeller, most_bytes, note=""):
    """The WSGI application: GET / is the page, POST /label takes an image file's bytes and answers with JSON.

    note: a line that the page says loudly. An image that cannot be labelled is answered with status 400 and {"error"}.
    """
    from bottle import Bottle, request, response

    app = Bottle()

    @app.get("/")
    def page():
        response.set_header("Content-Security-Policy", POLICY)
        return render("serve/serve.html", nets=list(labeller.nets), most_bytes=most_bytes, side=labeller.side, note=note)

    @app.post("/label")
    def label():
        try:
            return labeller.label(request.body.read())
        except CaffeError as error:
            response.status = 400
            return {"error": str(error)}

    return app


def listen(app, host, port, most_bytes):
    """A waitress server, ready to run, that takes no more than so many bytes in a request.

    Raises CaffeError where the address cannot be had.
    """
    import waitress

    try:
        return waitress.create_server(app, host=host, port=port, threads=THREADS, ident=None,
                                      max_request_body_size=most_bytes)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CaffeError(f"port {port} of {host} is in use: choose another (--port), or end what uses it") from None
        raise CaffeError(f"cannot listen on {host}, port {port}: {(error.strerror or str(error)).lower()}") from None
