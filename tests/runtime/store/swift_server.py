"""A real S3 server for tests: OpenStack Swift with its S3 API; four processes, one disk, one replica.

``python tests/runtime/store/swift_server.py [--host ADDRESS] BUCKET COMMAND …`` runs a command beside such a server,
which the command's environment names, and then forgets it.
"""

from __future__ import annotations

import argparse
import configparser
import fcntl
import ipaddress
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from minio import Minio

PACKAGE = "swift==2.38.3"
PARTS = ("account", "container", "object", "proxy")
FILTERS = ("catch_errors", "healthcheck", "listing_formats", "bulk", "s3api", "tempauth", "slo", "dlo")

# The ring builder's own program does one step per call, and takes half a second for each.
RINGS = """
import json, os, sys
from swift.common.ring import RingBuilder
root, places = sys.argv[1], json.loads(sys.argv[2])
for part, port in places.items():
    builder = RingBuilder(2, 1, 1)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1.0})
    builder.rebalance()
    builder.get_ring().save(os.path.join(root, part + ".ring.gz"))
"""


class ServerUnavailableError(Exception):
    """The server cannot be installed or cannot run here; says why."""


def install(into: Path) -> Path:
    """Install the server into a virtual environment of its own, once; return the folder of its programs."""
    programs, done = into / "bin", into / ".installed"
    into.mkdir(parents=True, exist_ok=True)
    with (into / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes start at the same time
        if done.is_file() and done.read_text() == PACKAGE:
            return programs
        for command in (
            [sys.executable, "-m", "venv", str(into)],
            [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE],
        ):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                last = (result.stderr.strip().splitlines() or ["no output"])[-1]
                raise ServerUnavailableError(f"{PACKAGE} cannot be installed: {last}")
        done.write_text(PACKAGE)
    return programs


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return ports


@dataclass
class SwiftServer:
    """One server with its data below ``root``; what was stored survives ``kill`` and ``start``."""

    programs: Path
    root: Path
    host: str = "127.0.0.1"
    access_key: str = "test:tester"
    secret_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    ports: dict[str, int] = field(default_factory=lambda: dict(zip(PARTS, free_ports(len(PARTS)), strict=True)))
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port of the S3 API."""
        return self.ports["proxy"]

    @property
    def endpoint(self) -> str:
        """The URL of the S3 API."""
        return f"http://{self.host}:{self.port}"

    def environment(self) -> dict[str, str]:
        """What a user of the server has in the environment."""
        return {
            "S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def prepare(self) -> None:
        """Write the configuration and the rings, which say where data lies."""
        (self.root / "disks" / "d1").mkdir(parents=True)
        probe = self.root / "disks" / "probe"
        probe.touch()
        try:
            os.setxattr(probe, "user.swift", b"1")
        except OSError as error:
            raise ServerUnavailableError(f"{self.root}: no extended attributes: {error.strerror}") from None
        self._write("swift.conf", {"swift-hash": {"swift_hash_path_suffix": secrets.token_hex(8)}})
        for part in PARTS[:3]:
            self._write(f"{part}.conf", {**self._common(part), **self._storage(part)})
        self._make_rings()
        self._write("proxy.conf", {**self._common("proxy"), **self._proxy()})

    def start(self) -> None:
        """Start all processes and wait until they serve."""
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        with (self.root / "log").open("ab") as log:
            for part in PARTS:
                command = [str(self.programs / f"swift-{part}-server"), str(self.root / f"{part}.conf")]
                self.processes.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
                )
        deadline = time.monotonic() + 120
        while not all(self._serves(part) for part in PARTS):
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                self.kill()
                last = ((self.root / "log").read_text().strip().splitlines() or ["no output"])[-1]
                raise ServerUnavailableError(f"{PACKAGE} does not start: {last}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill all processes with SIGKILL, as a power cut would."""
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def _serves(self, part: str) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://{self._address(part)}:{self.ports[part]}/healthcheck", timeout=2
            ) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _address(self, part: str) -> str:
        return self.host if part == "proxy" else "127.0.0.1"

    def _common(self, part: str) -> dict[str, dict[str, object]]:
        return {
            "DEFAULT": {
                "bind_ip": self._address(part),
                "bind_port": self.ports[part],
                "swift_dir": self.root,
                "devices": self.root / "disks",
                "mount_check": "false",
                "workers": 0,
                "log_level": "ERROR",
                "log_address": "/nonexistent",
                "disable_fallocate": "true",
                # On a busy machine too an object that was put is listed: nothing here makes up for a late update.
                "container_update_timeout": 60,
                "node_timeout": 60,
                "conn_timeout": 60,
                "user": subprocess.check_output(["id", "-un"], text=True).strip(),
            }
        }

    def _storage(self, part: str) -> dict[str, dict[str, object]]:
        return {
            "pipeline:main": {"pipeline": f"healthcheck {part}-server"},
            f"app:{part}-server": {"use": f"egg:swift#{part}"},
            "filter:healthcheck": {"use": "egg:swift#healthcheck"},
        }

    def _proxy(self) -> dict[str, dict[str, object]]:
        account, user = self.access_key.split(":")
        sections: dict[str, dict[str, object]] = {f"filter:{name}": {"use": f"egg:swift#{name}"} for name in FILTERS}
        sections["filter:tempauth"][f"user_{account}_{user}"] = f"{self.secret_key} .admin"
        sections["filter:s3api"]["location"] = "us-east-1"
        sections["pipeline:main"] = {"pipeline": " ".join([*FILTERS, "proxy-server"])}
        sections["app:proxy-server"] = {"use": "egg:swift#proxy", "account_autocreate": "true"}
        return sections

    def _make_rings(self) -> None:
        places = {part: self.ports[part] for part in PARTS[:3]}
        command = [str(self.programs / "python"), "-c", RINGS, str(self.root), json.dumps(places)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    def _write(self, name: str, sections: dict[str, dict[str, object]]) -> None:
        document = configparser.RawConfigParser()
        document.read_dict(sections)
        with (self.root / name).open("w") as stream:
            document.write(stream)


def main() -> int:
    """Run the command line's command beside a server; return its exit status."""
    parser = argparse.ArgumentParser(description="Run a command beside a real S3 server.")
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on, or a network: its first one.")
    parser.add_argument("bucket", help="A bucket that the server then has.")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="swift-") as folder:
        programs = install(Path(__file__).resolve().parents[3] / "build" / "s3-server")
        host = str(ipaddress.ip_network(arguments.host)[1]) if "/" in arguments.host else arguments.host
        server = SwiftServer(programs, Path(folder), host=host)
        server.prepare()
        server.start()
        try:
            address = server.endpoint.removeprefix("http://")
            Minio(address, server.access_key, server.secret_key, secure=False, region="us-east-1").make_bucket(
                arguments.bucket
            )
            signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command, which may have to clear up
            return subprocess.run(arguments.command, env=os.environ | server.environment(), check=False).returncode
        finally:
            server.kill()


if __name__ == "__main__":
    sys.exit(main())
