"""One of several worker processes: `python -m http_api.server.worker FD`, settings from the environment."""

import os
import socket
import sys
from pathlib import Path

from broker.access.tokens import OpenMode
from http_api.server.serve import OPEN_MODE_MARK, serve_worker
from http_api.server.supervisor import end_with_parent
from http_api.settings import load

if __name__ == "__main__":
    end_with_parent()
    serve_worker(load({}), socket.socket(fileno=int(sys.argv[1])), OpenMode(Path(os.environ[OPEN_MODE_MARK])))
