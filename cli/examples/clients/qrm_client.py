#!/usr/bin/env python3
"""A client of qrmd with nothing but the standard library: copy it into your program.

As a program it runs a command as a job, shows its output, and exits with its code:

    ./qrm_client.py sh -c 'echo hello; exit 3'

What can be said to the daemon is in qrm-protocol(7), and in what `call("rpc.discover")` returns.
"""

import json
import os
import socket
import subprocess
import sys

PROTOCOL = 1


class QrmError(Exception):
    """The daemon said no. `code` is for programs: NOT_FOUND, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, ..."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["data"]["code"]
        self.hint = error["data"]["hint"]


class Lost(Exception):
    """The daemon went away before it answered. What it had acknowledged is kept."""


def socket_path():
    """Where the daemon listens, found as qrm finds it."""
    if os.environ.get("QRM_SOCKET"):
        return os.environ["QRM_SOCKET"]
    if not os.environ.get("QRM_STATE_DIR") and os.path.exists("/run/qrm/qrm.sock"):
        return "/run/qrm/qrm.sock"
    # This starts the daemon if it does not run, and knows where it is then.
    status = subprocess.run(["qrm", "--json", "daemon", "start"], check=True, stdout=subprocess.PIPE)
    return json.loads(status.stdout)["socket"]


def os_text(raw):
    """Bytes as the protocol has them: a string if they are UTF-8, else their hexadecimal digits."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


class Qrm:
    """A connection. Calls on it are answered in their order; a subscription that is followed needs one of its own."""

    def __init__(self, path=None):
        self.path = path or socket_path()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(self.path)
        self.frames = self.socket.makefile("rb")
        self.next_id = 0
        self.call("hello", protocol=PROTOCOL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.frames.close()
        self.socket.close()

    def call(self, method, **params):
        """Calls a method; its result, or QrmError."""
        self.next_id += 1
        frame = {"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}
        self.socket.sendall(json.dumps(frame).encode() + b"\n")
        reply = self._read()
        if "error" in reply:
            raise QrmError(reply["error"])
        return reply["result"]

    def subscribe(self, method, **params):
        """Subscribes; the notifications as pairs of a name and parameters, up to and with the one that says the end."""
        self.call(method, **params)
        while True:
            frame = self._read()
            if "error" in frame:
                raise QrmError(frame["error"])
            yield frame["method"], frame["params"]
            if frame["method"].endswith(".end"):
                return

    def _read(self):
        line = self.frames.readline()
        if not line.endswith(b"\n"):
            raise Lost(f"the daemon at {self.path} went away")
        return json.loads(line)

    def submit(self, command, **options):
        """Queues a command; its id. Options are the keys of a job: name=, cpus=, mem="8G", time="1h", key=, after_ok=[...]"""
        env = [os_text(name + b"=" + value) for name, value in os.environb.items()]
        umask = os.umask(0)
        os.umask(umask)
        context = {"cwd": os_text(os.getcwdb()), "umask": umask, "env": env}
        return self.call("job.submit", context=context, job={"command": command, **options})["id"]

    def wait(self, *ids, timeout_ms=None):
        """Waits until all of these have ended, or the time is up; the jobs as they are then."""
        return self.call("job.wait", ids=list(ids), timeout_ms=timeout_ms)["jobs"]

    def log(self, id, stream="stdout", follow=True):
        """What a job writes, in pieces of bytes: to its end if it is followed, else what there is."""
        for name, params in self.subscribe("log.subscribe", id=id, stream=stream, follow=follow):
            if name == "log":
                text = params["text"]
                yield text.encode() if isinstance(text, str) else bytes.fromhex(text["hex"])

    def events(self, after=0, job=None, follow=False):
        """The events after a number, of all jobs or of one."""
        for name, params in self.subscribe("event.subscribe", after=after, job=job, follow=follow):
            if name == "event":
                yield params


def main():
    with Qrm() as qrm:
        try:
            id = qrm.submit(sys.argv[1:])
        except QrmError as error:
            print(f"{error} ({error.code}): {error.hint or 'no hint'}", file=sys.stderr)
            return 2
        for piece in qrm.log(id):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        for piece in qrm.log(id, "stderr"):
            sys.stderr.buffer.write(piece)
        (job,) = qrm.wait(id)
        # What the job went through, for whoever wants to know; each event has its number, time and kind.
        for event in qrm.events(job=id):
            print(event["seq"], event["at"], event["kind"], file=sys.stderr)
        if job["signal"]:
            return 128 + job["signal"]
        return 125 if job["exit_code"] is None else job["exit_code"]


if __name__ == "__main__":
    sys.exit(main())
