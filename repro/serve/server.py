"""The page and its server: bottle for the two addresses, waitress to answer them; both small and without dependencies."""

import errno
import json
import secrets
from urllib.parse import urlsplit

from converters.errors import CaffeError
from repro.pages import render

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # the names of this machine that only its own programs reach
THREADS = 8  # that take requests; one photograph is labelled at a time whatever their number
# The page has its style and script inside, and asks nobody but this server.
POLICY = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


def application(labeller, most_bytes, note="", token=None):
    """The WSGI application: GET / is the page, POST /label takes an image file's bytes and answers with JSON.

    note: a line that the page says loudly. token: what every address needs as ?token=...; without one, only this machine's
    own names are answered to. An image that cannot be labelled is answered with status 400 and {"error"}, every other error
    in the same way.
    """
    from bottle import Bottle, abort, request, response

    app = Bottle()

    @app.hook("before_request")
    def refuse_strangers():
        if reason := refusal(request.headers, request.query.get("token", ""), token):
            abort(403, reason)

    def answer_error(error):
        response.content_type = "application/json"
        failed = error.status_code == 500
        return json.dumps({"error": "the server failed; its own output says why" if failed else error.body})

    app.default_error_handler = answer_error

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


def refusal(headers, given, token=None):
    """Why a request is not answered, or None.

    Any page in a browser may send requests to this machine: those are known by their Origin. A name that is made to lead
    here, so that a page of that name may read the answers, is known by the Host (DNS rebinding).
    """
    host, origin = headers.get("Host", ""), headers.get("Origin")
    if token is None and _name_of(host) not in LOOPBACK:
        return f"this server is {LOOPBACK[0]}, not {_name_of(host) or 'without a name'}; open the address that it printed"
    if origin is not None and urlsplit(origin).netloc != host:
        return f"a page of {origin} cannot use this server"
    if token is not None and not secrets.compare_digest(given.encode(), token.encode()):
        return "the address needs its token: open the whole address that `repro serve` printed"
    return None


def _name_of(host):
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def listen(app, host, port, most_bytes):
    """A waitress server, ready to run, that takes no more than so many bytes in a request.

    Raises CaffeError where the address cannot be had.
    """
    import waitress
    from waitress.channel import HTTPChannel
    from waitress.task import ErrorTask

    class JsonErrorTask(ErrorTask):
        """What waitress itself refuses, such as too large an upload."""

        def execute(self):
            error = self.request.error
            body = json.dumps({"error": f"{error.reason.lower()}: {error.body}"}).encode()
            self.status, self.content_length = f"{error.code} {error.reason}", len(body)
            self.response_headers.append(("Content-Type", "application/json"))
            self.set_close_on_finish()
            self.write(body)

    class Channel(HTTPChannel):
        error_task_class = JsonErrorTask

    try:
        server = waitress.create_server(app, host=host, port=port, threads=THREADS, ident=None,
                                        max_request_body_size=most_bytes)
        server.channel_class = Channel
        return server
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CaffeError(f"port {port} of {host} is in use: choose another (--port), or end what uses it") from None
        raise CaffeError(f"cannot listen on {host}, port {port}: {(error.strerror or str(error)).lower()}") from None
