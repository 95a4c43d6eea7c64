"""One of several worker processes: `python -m http_api.worker FD`, settings from the environment."""

import os
import socket
import sys
from pathlib import Path

from broker.access import Door
from http_api.server import DOOR, serve_worker
from http_api.settings import load
from http_api.supervisor import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    serve_worker(load({}), socket.socket(fileno=int(sys.argv[1])), Door(Path(os.environ[DOOR])))
