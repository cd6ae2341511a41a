"""llama.cpp's own server on a model file: `python llama_server.py FILE PORT`. Needs xllamacpp.

The server of llama-cpp-python is another program: it has no token ids.
"""

import sys
import threading

import xllamacpp


def main(path: str, port: str) -> None:
    given = xllamacpp.CommonParams()
    given.model.path = path
    given.n_ctx = 4096
    given.port = int(port)
    given.n_threads_http = 4
    server = xllamacpp.Server(given)
    print("serves at", server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
