"""Both ends of what a relay carries: a server, and a client that does one thing and prints what came of it as JSON.

A stream begins with a line that says what the server is to do. Datagrams are answered with their text and their sender's address.
"""
import json
import os
import resource
import socket
import struct
import sys
import threading
import time

BLOCK = b"x" * 65536


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def reset(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def serve_stream(stream, peer):
    line = b""
    while not line.endswith(b"\n"):
        byte = stream.recv(1)
        if not byte:
            return stream.close()
        line += byte
    what, *more = line.decode().split()
    try:
        if what == "who":
            stream.sendall(peer[0].encode())
        elif what == "reset":
            time.sleep(float(more[0]))
            return reset(stream)
        elif what == "count":
            # Answers only after the client has ended its side.
            total = 0
            while data := stream.recv(1 << 20):
                total += len(data)
            stream.sendall(str(total).encode())
        elif what == "send":
            left = int(more[0])
            while left > 0:
                left -= stream.send(BLOCK[:left])
        elif what == "echo":
            while data := stream.recv(65536):
                stream.sendall(data)
        elif what == "until":
            # Sends until the client no longer takes it, and keeps how much that was.
            stream.settimeout(float(more[0]))
            total = 0
            try:
                while True:
                    total += stream.send(BLOCK)
            except socket.timeout:
                pass
            stuck[0] = total
            return reset(stream)
        elif what == "stuck":
            stream.sendall(str(stuck[0]).encode())
        elif what == "ended":
            # Whether the client was reset while nothing was said.
            try:
                gone[0] = "end" if stream.recv(1) == b"" else "data"
            except OSError as error:
                gone[0] = error.strerror
        elif what == "gone":
            stream.sendall(str(gone[0]).encode())
    except OSError:
        pass
    stream.close()


stuck = [0]
gone = [None]


def serve(hosts, port):
    for host in hosts:
        listener = socket.socket(family(host), socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(4096)
        datagrams = socket.socket(family(host), socket.SOCK_DGRAM)
        datagrams.bind((host, port))

        def streams(listener=listener):
            while True:
                stream, peer = listener.accept()
                threading.Thread(target=serve_stream, args=(stream, peer), daemon=True).start()

        def answers(datagrams=datagrams):
            while True:
                data, peer = datagrams.recvfrom(65536)
                datagrams.sendto(data + b" " + peer[0].encode(), peer)

        for work in (streams, answers):
            threading.Thread(target=work, daemon=True).start()
    print("serving", flush=True)
    sys.stdin.read()
    os._exit(0)


def begin(host, port, line, timeout=20):
    stream = socket.socket(family(host), socket.SOCK_STREAM)
    stream.settimeout(timeout)
    stream.connect((host, port))
    stream.sendall(line.encode() + b"\n")
    return stream


def rest(stream):
    parts = []
    while data := stream.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


def ask(host, port, line, body=0):
    """What the server says, after `body` bytes and the end of this side."""
    stream = begin(host, port, line)
    for _ in range(body // len(BLOCK)):
        stream.sendall(BLOCK)
    stream.sendall(BLOCK[: body % len(BLOCK)])
    stream.shutdown(socket.SHUT_WR)
    return rest(stream).decode()


def fetch(host, port, size):
    """How many bytes of `size` come."""
    stream = begin(host, port, "send %d" % size, 120)
    total = 0
    while data := stream.recv(1 << 20):
        total += len(data)
    return total


def many(host, port, count):
    """How many of so many connections at a time are answered."""
    streams = [begin(host, port, "echo", 60) for _ in range(count)]
    for number, stream in enumerate(streams):
        stream.sendall(b"%d\n" % number)
    good = 0
    for number, stream in enumerate(streams):
        stream.shutdown(socket.SHUT_WR)
        good += rest(stream) == b"%d\n" % number
    return good


def slow(host, port):
    """Reads nothing. Returns how many bytes the server could send."""
    stream = begin(host, port, "until 1")
    time.sleep(4)
    stream.close()
    return int(ask(host, port, "stuck"))


def quit_(host, port):
    """Resets a connection that has been quiet for a while. Returns what the server has seen of it."""
    stream = begin(host, port, "ended")
    time.sleep(3)
    reset(stream)
    time.sleep(0.5)
    return ask(host, port, "gone")


def datagram(host, port, count=1):
    """The answers to so many datagrams of one socket."""
    one = socket.socket(family(host), socket.SOCK_DGRAM)
    one.settimeout(3)
    one.connect((host, port))
    answers = []
    for number in range(count):
        one.send(b"%d" % number)
        answers.append(one.recv(65536).decode())
    return answers


def crowd(host, port, count, path):
    """Holds so many connections until the file is gone. Returns how many were answered, and what the others came to."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
    streams, failures = [], {}
    for number in range(count):
        try:
            streams.append(begin(host, port, "echo"))
        except OSError as error:
            failures[error.strerror] = failures.get(error.strerror, 0) + 1
    answered = 0
    for stream in streams:
        stream.sendall(b"x")
        answered += stream.recv(1) == b"x"
    while os.path.exists(path):
        time.sleep(0.05)
    return [answered, failures]


def burst(host, port, count, size):
    """How many of so many datagrams at once are answered."""
    one = socket.socket(family(host), socket.SOCK_DGRAM)
    one.connect((host, port))
    for _ in range(count):
        one.send(b"b" * size)
    one.settimeout(1)
    answered = 0
    try:
        while one.recv(65536):
            answered += 1
    except socket.timeout:
        return answered


def way(host, port, kind, hops):
    """Who complains about a packet that may pass so many routers, and the type of the complaint."""
    four = family(host) == socket.AF_INET
    level, limit, complaints = (0, 2, 11) if four else (41, 16, 25)
    one = socket.socket(family(host), socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    one.setsockopt(level, limit, hops)
    one.setsockopt(level, complaints, 1)
    one.settimeout(5)
    try:
        one.connect((host, port))
        one.send(b"probe")
        one.recv(100)
    except socket.timeout:
        raise
    except OSError:
        pass
    _, control, _, _ = one.recvmsg(100, 512, socket.MSG_ERRQUEUE)
    data = control[0][2]
    return [socket.inet_ntop(family(host), data[20:24] if four else data[24:40]), data[5]]


def too_large(host, port, size, divide):
    """As `way`, for a datagram of that size, which may be divided or not; besides, the size that fits."""
    one = socket.socket(family(host), socket.SOCK_DGRAM)
    one.setsockopt(0, 2, 2)
    one.setsockopt(0, 10, 0 if divide else 2)
    one.setsockopt(0, 11, 1)
    one.settimeout(5)
    one.connect((host, port))
    one.send(b"x" * size)
    try:
        one.recv(100)
    except socket.timeout:
        raise
    except OSError:
        pass
    data = one.recvmsg(100, 512, socket.MSG_ERRQUEUE)[1][0][2]
    return [socket.inet_ntop(family(host), data[20:24]), data[5], data[6], struct.unpack("I", data[8:12])[0]]


def echo_way(host, hops):
    """As `way`, for an echo request; besides, whether the complaint quotes it."""
    four = family(host) == socket.AF_INET
    one = socket.socket(family(host), socket.SOCK_RAW, 1 if four else 58)
    one.setsockopt(*((0, 2) if four else (41, 16)), hops)
    one.settimeout(5)
    asked = os.getpid() & 0xFFFF
    message = struct.pack("!BBHHH", 8 if four else 128, 0, 0, asked, 7)
    if four:
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    one.sendto(message, (host, 0))
    while True:
        answer, peer = one.recvfrom(65536)
        answer = answer[20 if four else 0 :]
        if answer[0] in ((3, 11) if four else (1, 3)):
            quoted = answer[8 + (20 if four else 40) :]
            return [peer[0], answer[0], struct.unpack("!HH", quoted[4:8]) == (asked, 7)]


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(host, size=56):
    """The size of the answer's data."""
    four = family(host) == socket.AF_INET
    one = socket.socket(family(host), socket.SOCK_RAW, 1 if four else 58)
    one.settimeout(3)
    one.connect((host, 0))
    message = struct.pack("!BBHHH", 8 if four else 128, 0, 0, os.getpid() & 0xFFFF, 1) + b"p" * size
    if four:
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    one.send(message)
    while True:
        answer = one.recv(65536)[20 if four else 0 :]
        if answer[0] == (0 if four else 129) and answer[4:] == message[4:]:
            return len(answer) - 8


def latency(host, port, count):
    """Median of small questions and answers on one connection, in ms."""
    stream = begin(host, port, "echo")
    times = []
    for _ in range(count):
        began = time.perf_counter()
        stream.sendall(b"q" * 100)
        # In two parts, as a server that writes its head and its content: Nagle's algorithm would keep the second back.
        left = 100
        while left:
            left -= len(stream.recv(left))
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[count // 2]


def main():
    what, *words = sys.argv[1:]
    words = [int(word) if word.isdigit() else word for word in words]
    if what == "serve":
        return serve(words[1:], words[0])
    try:
        print(json.dumps({"said": globals()[what](*words)}))
    except OSError as error:
        print(json.dumps({"error": error.strerror or str(error)}))


main()
