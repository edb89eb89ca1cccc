"""A server of completions in a process of its own, and how it misbehaves.

    python stub_server.py NAME PORT LOG [dies|hangs|never|always-dies]

LOG gets a line for each start, and for each prompt that is answered. What it does wrong it does at
its third request, and only when it is started first; but for `never`, which is not to start, and
`always-dies`.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

asked = 0


def main(name: str, port: str, log: str, how: str = "well") -> None:
    file = Path(log)
    first = not file.exists()

    def note(what: str) -> None:
        with file.open("a") as opened:
            opened.write(f"{what}\n")

    note(f"start {os.getpid()}")
    print("looking for the model", flush=True)
    if how == "never":
        print("no such model")
        sys.exit(3)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({"data": [{"id": name}]})

        def do_POST(self) -> None:
            global asked
            asked += 1
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if asked >= 3 and (first or how.startswith("always")):
                if how.endswith("dies"):
                    os._exit(1)
                if how == "hangs":
                    time.sleep(600)
            note(f"prompt {json.dumps(body['prompt'])}")
            texts = [f" the answer is {i}." for i in range(body["n"])]
            choices = [{"text": text, "finish_reason": "stop"} for text in texts]
            self.reply({"model": body["model"], "choices": choices})

        def reply(self, content: Any) -> None:
            raw = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None: ...

    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
