"""Archives, and a server on this machine that has one of them."""

import contextlib
import http.server
import io
import tarfile
import threading


def make_tar(members):
    """members: (name or TarInfo, bytes)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives `content`, or a part of it; notes the ranges asked for."""

    content, broken_after, requests = b"", None, []

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.requests.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.content[start : self.broken_after])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(monkeypatch, content):
    """Runs the server; yields its address."""
    monkeypatch.setattr(Handler, "content", content)
    monkeypatch.setattr(Handler, "requests", [])
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
