"""What is not HTTP: answered before there is a request, in the one shape of errors (C3)."""

import secrets

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.errors import InvalidRequest
from http_api.problems import STATUS, Problem

_SUMMARY = "The request is not HTTP as it is understood here: its method, address, headers or length cannot be read."


class Protocol(HttpToolsProtocol):
    """One connection. The parser is httptools, which the package demands."""

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses, and close. There is no request yet whose id or Accept could count."""
        body = msgspec.json.encode(Problem(InvalidRequest.code, _SUMMARY))
        lines = [
            b"HTTP/1.1 %d Bad Request" % STATUS[InvalidRequest],
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"x-request-id: " + secrets.token_hex(9).encode(),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()
