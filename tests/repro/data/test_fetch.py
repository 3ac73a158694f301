"""`repro fetch` against a server of its own that cuts connections, answers in parts, and sends garbage."""

import hashlib
import io
import shutil
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from helpers.weights import write_narrow

from converters.errors import CaffeError
from reference.weights import Download
from repro.cli import main
from repro.data.fetch import fetch, unpack


class Server(ThreadingHTTPServer):
    """Serves `files` {path: bytes}; what else it does a test sets."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests = {}, []  # the requests: (path, Range header)
        self.cut_after = []  # for each answer to come: how many bytes it sends before it hangs up
        self.ranges, self.answer, self.version = True, None, '"1"'

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, path, asked = self.server, self.path[1:], self.headers.get("Range")
        server.requests.append((path, asked))
        if server.answer:
            return self.reply(server.answer, b"")
        if path not in server.files:
            return self.reply(404, b"not here")
        body = server.files[path]
        if asked and server.ranges and self.headers.get("If-Range", server.version) == server.version:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.reply(416, b"")
            return self.reply(206, body[start:], {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})
        return self.reply(200, body)

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "ETag": self.server.version, **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.server.cut_after and status in (200, 206):
            self.wfile.write(body[: self.server.cut_after.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_narrow(tmp_path_factory.mktemp("model") / "net.caffemodel", "voc-fcn32s").read_bytes()


def archive(members, mode="w:gz"):
    """A tar of {name: bytes, or a TarInfo}."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def served(server, file, content, **known):
    server.files[file] = content
    return Download("a test", server.url(file), **known)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def refusal(act, *arguments, **options):
    with pytest.raises(CaffeError) as caught:
        act(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_download_is_whole_and_its_checksum_holds_from_then_on(server, model, tmp_path):
    download = served(server, "net.caffemodel", model)
    assert fetch("net", download, tmp_path).read_bytes() == model
    recorded = f"sha256:{hashlib.sha256(model).hexdigest()}  net.caffemodel\n"
    assert (tmp_path / "checksums.txt").read_text() == recorded
    assert left(tmp_path) == ["checksums.txt", "net.caffemodel"]
    fetch("net", download, tmp_path)
    assert len(server.requests) == 1  # it is there

    (tmp_path / "net.caffemodel").unlink()
    server.files["net.caffemodel"] = model[:-4] + b"\0\0\0\1"
    assert "checksum" in refusal(fetch, "net", download, tmp_path)
    assert left(tmp_path) == ["checksums.txt"]


def test_a_checksum_put_there_by_hand(server, model, tmp_path):
    download = served(server, "net.caffemodel", model)
    (tmp_path / "checksums.txt").write_text(f"SHA1:{hashlib.sha1(model).hexdigest().upper()}  net.caffemodel\n")
    assert fetch("net", download, tmp_path).read_bytes() == model
    (tmp_path / "net.caffemodel").unlink()
    (tmp_path / "checksums.txt").write_text("crc:12  net.caffemodel\n")
    assert "'crc:12' is not a checksum" in refusal(fetch, "net", download, tmp_path)


def test_an_archive_that_is_there_is_unpacked(server, tmp_path):
    content = archive({"a": b"1"}, "w")
    download = served(server, "set.tar", content, md5=hashlib.md5(content).hexdigest())
    (tmp_path / "set.tar").write_bytes(content)
    assert left(fetch("set", download, tmp_path)) == ["a"] and server.requests == []
    shutil.rmtree(tmp_path / "set")
    (tmp_path / "set.tar").write_bytes(content + b"x")
    assert left(fetch("set", download, tmp_path)) == ["a"] and len(server.requests) == 1


def test_cut_connections_go_on_where_they_were(server, model, tmp_path):
    server.cut_after = [100_000, 0, 300_000, 1]
    path = fetch("net", served(server, "net.caffemodel", model), tmp_path)
    assert path.read_bytes() == model
    begun = [int(asked[6:-1]) if asked else 0 for _, asked in server.requests]
    assert len(begun) == 5 and begun[0] == 0 < begun[1] == begun[2] <= 100_000
    assert begun[2] + 200_000 < begun[3] == begun[4] <= begun[2] + 300_000


def test_what_came_is_kept_for_the_next_fetch(server, model, tmp_path):
    download = served(server, "net.caffemodel", model)
    server.cut_after = [100_000, 0, 0]
    assert "the next fetch goes on" in refusal(fetch, "net", download, tmp_path, retries=1)
    assert left(tmp_path) == ["net.caffemodel.part", "net.caffemodel.stamp"]
    assert fetch("net", download, tmp_path).read_bytes() == model
    assert int(server.requests[-1][1][6:-1]) > 50_000 and left(tmp_path) == ["checksums.txt", "net.caffemodel"]


@pytest.mark.parametrize("change", ["no ranges", "another version", "shorter"])
def test_what_cannot_be_gone_on_with_begins_anew(server, model, tmp_path, change):
    download = served(server, "net.caffemodel", model)
    server.cut_after = [100_000, 0]
    refusal(fetch, "net", download, tmp_path, retries=0)
    if change == "no ranges":
        server.ranges = False
    elif change == "another version":
        server.version = '"2"'
    else:
        (tmp_path / "net.caffemodel.part").write_bytes(model + b"more")
    assert fetch("net", download, tmp_path).read_bytes() == model


@pytest.mark.parametrize(("answer", "message"), [(404, "answers 404"), (403, "answers 403"), (503, "answers 503")])
def test_refusals_are_said(server, model, tmp_path, answer, message):
    server.answer = answer
    assert message in refusal(fetch, "net", served(server, "net.caffemodel", model), tmp_path, retries=1)
    assert len(server.requests) == (1 if answer < 500 else 2) and left(tmp_path) == []


@pytest.mark.parametrize(("file", "content", "known", "message"), [
    ("net.caffemodel", b"<!DOCTYPE html><p>moved", {}, "a web page in place of the file"),
    ("net.caffemodel", b"\xff\xfe garbage" * 100, {}, "not a caffemodel"),
    ("set.tgz", b"garbage" * 1000, {}, "not a tar archive"),
    ("net.caffemodel", b"x" * 100, {"bytes": 99}, "not 99"),
    ("set.tar", archive({"a": b"1"}, "w"), {"md5": "0" * 32}, "the checksum md5:"),
])
def test_garbage_is_refused_and_not_kept(server, tmp_path, file, content, known, message):
    assert message in refusal(fetch, "name", served(server, file, content, **known), tmp_path, retries=1)
    assert not (tmp_path / file).exists() and not (tmp_path / "name").exists()
    assert not (tmp_path / "checksums.txt").exists()


def test_no_server_at_all(tmp_path):
    download = Download("a test", "http://127.0.0.1:9/net.caffemodel")
    assert "refused" in refusal(fetch, "net", download, tmp_path, retries=0)


def test_archives_are_unpacked(server, tmp_path):
    content = archive({"VOCdevkit/VOC2011/a.txt": b"one", "VOCdevkit/VOC2011/b/c.txt": b"two"})
    digest = hashlib.md5(content).hexdigest()
    root = fetch("voc2011", served(server, "voc.tgz", content, md5=digest), tmp_path)
    assert root == tmp_path / "voc2011" and (root / "VOCdevkit/VOC2011/b/c.txt").read_bytes() == b"two"
    assert left(tmp_path) == ["voc2011"]


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def device(name):
    info = tarfile.TarInfo(name)
    info.type = tarfile.CHRTYPE
    return info


@pytest.mark.parametrize(("members", "most", "message"), [
    ({"ok": b"1", "../out": b"1"}, None, "outside"),
    ({"a/../../out": b"1"}, None, "outside"),
    ({"l": link("l", "/etc/passwd")}, None, "outside"),
    ({"l": link("l", "../..")}, None, "outside"),
    ({"l": link("l", "../../out", tarfile.LNKTYPE)}, None, "outside"),
    ({"d": device("d")}, None, "outside"),
    ({"l": link("l", "sub"), "l/../../out": b"1"}, None, "outside"),
    ({"a": b"1" * 60, "b": b"2" * 60}, 5000, "b: unpacks to more than"),
])
def test_dishonest_archives_leave_nothing(tmp_path, members, most, message):
    path = tmp_path / "set.tgz"
    path.write_bytes(archive(members))
    assert message in refusal(unpack, path, tmp_path / "inner/set", most)
    assert left(tmp_path) == ["inner", "set.tgz"] and left(tmp_path / "inner") == []


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_damaged_archives_leave_nothing(tmp_path, damage):
    whole = archive({f"file{number}": hashlib.sha256(b"%d" % number).digest() * 99 for number in range(50)})
    half = len(whole) // 2
    path = tmp_path / "set.tgz"
    path.write_bytes(whole[:half] if damage == "cut" else whole[:half] + b"\xaa" * 64 + whole[half + 64:])
    assert "cannot be unpacked" in refusal(unpack, path, tmp_path / "set")
    assert left(tmp_path) == ["set.tgz"]


def test_many_empty_files_are_refused(tmp_path):
    path = tmp_path / "set.tgz"
    path.write_bytes(archive({f"{number:06}": b"" for number in range(2000)}, "w:gz"))
    assert "honestly hold" in refusal(unpack, path, tmp_path / "set", 2**20)
    assert left(tmp_path) == ["set.tgz"]


def test_what_an_interrupted_unpacking_left_is_cleared(tmp_path):
    (tmp_path / ".set.unpacking").mkdir()
    (tmp_path / ".set.unpacking/stale").write_text("old")
    path = tmp_path / "set.tar"
    path.write_bytes(archive({"new": b"1"}, "w"))
    unpack(path, tmp_path / "set")
    assert left(tmp_path) == ["set", "set.tar"] and left(tmp_path / "set") == ["new"]


def test_the_command(server, model, tmp_path):
    def command(*arguments):
        return CliRunner().invoke(main, ["fetch", "--folder", str(tmp_path / "data"), *arguments])

    dry = command("--dry-run", "vgg16", "sbd")
    assert "VGG_ILSVRC_16_layers.caffemodel (553432081 bytes, no checksum known)" in dry.stdout
    assert f"md5:82b4d87ceb2ed10f6038a1cba92111cb) -> {tmp_path / 'data/sbd'}" in dry.stdout
    assert not (tmp_path / "data").exists()
    assert {line.split()[0] for line in command().stdout.splitlines()} >= {"voc2011", "sbd", "vgg16", "voc-fcn8s"}
    server.files["mirror"] = model
    done = command("voc-fcn32s", "--url", f"voc-fcn32s={server.url('mirror')}")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "data/fcn32s-heavy-pascal.caffemodel").read_bytes() == model
    wrong = command("voc-fcn99")
    assert wrong.exit_code == 2 and "nothing was released under 'voc-fcn99'" in wrong.stderr
