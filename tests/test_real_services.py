"""What real servers say to the probes: each is started for itself, on a free port, and must be named.

The port says nothing of who listens there, so every probe has to find its server among all the others. What is not
installed is skipped; `.ci/run` installs all of them.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from socket import AF_INET
from typing import Any

import pytest
import trustme
from real_servers import answers, free_port, memcached_server, private_folder, program, redis_server, running

from greenprobe.engine.link import Door
from greenprobe.engine.probes.registry import Registry
from greenprobe.engine.services import Examiner

Server = Callable[[], AbstractContextManager[int]]
Command = Callable[[str, Path, int], list[str]]


@contextmanager
def server(name: str, command: Command, *, as_root: bool = False) -> Iterator[int]:
    """Run a program with a folder and a port for itself; yield the port."""
    path, port = program(name), free_port()
    with private_folder() as folder:
        folder.chmod(0o777)  # some go on as a user of their own
        write_certificate(folder)
        words = command(path, folder, port)
        with running(words, folder, answers(AF_INET, ("127.0.0.1", port)), as_root=as_root):
            yield port


def write_certificate(folder: Path) -> None:
    issued = trustme.CA().issue_cert("zoo.test")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    (folder / "key.pem").chmod(0o644)  # the server's user reads it


def configured(folder: Path, name: str, text: str) -> str:
    """Write a configuration and return its path."""
    (folder / name).write_text(text)
    return str(folder / name)


def sshd(path: str, folder: Path, port: int) -> list[str]:
    Path("/run/sshd").mkdir(exist_ok=True)
    key = folder / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    options = {"HostKey": key, "PidFile": folder / "pid", "ListenAddress": f"127.0.0.1:{port}"}
    return [path, "-D", "-e", "-f", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]


def exim(path: str, folder: Path, port: int) -> list[str]:
    text = f"""
log_file_path = {folder}/exim.%s
spool_directory = {folder}
keep_environment =
pid_file_path = {folder}/pid
tls_advertise_hosts = *
tls_certificate = {folder}/cert.pem
tls_privatekey = {folder}/key.pem
"""
    return [path, "-bdf", "-oX", f"127.0.0.1.{port}", "-C", configured(folder, "exim.conf", text)]


def dovecot(protocol: str, path: str, folder: Path, port: int) -> list[str]:
    kept = "\n".join(f"{name} = {folder}/dovecot" for name in ("base_dir", "state_dir"))
    text = f"""
protocols = {protocol}
listen = 127.0.0.1
{kept}
log_path = {folder}/dovecot.log
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
passdb {{
  driver = static
  args = nopassword=y
}}
service {protocol}-login {{
  inet_listener {protocol} {{
    port = {port}
  }}
  inet_listener {protocol}s {{
    port = 0
  }}
}}
"""
    return [path, "-F", "-c", configured(folder, "dovecot.conf", text)]


imap, pop3 = partial(dovecot, "imap"), partial(dovecot, "pop3")


def vsftpd(path: str, folder: Path, port: int) -> list[str]:
    (folder / "empty").mkdir()
    text = f"""
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
secure_chroot_dir={folder}/empty
"""
    return [path, configured(folder, "vsftpd.conf", text)]


def samba(path: str, folder: Path, port: int) -> list[str]:
    places = ("private dir", "lock directory", "state directory", "cache directory", "pid directory", "ncalrpc dir")
    lines = ["[global]", "interfaces = lo", "bind interfaces only = yes", "disable netbios = yes"]
    lines += [f"log file = {folder}/samba.log", *(f"{place} = {folder}" for place in places)]
    text = "\n".join(lines)
    return [path, "-F", "--no-process-group", "-p", str(port), "-s", configured(folder, "smb.conf", text)]


def slapd(path: str, folder: Path, port: int) -> list[str]:
    (folder / "db").mkdir()
    (folder / "db").chmod(0o777)
    text = f"""
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=zoo,dc=test"
directory {folder}/db
"""
    return [path, "-d", "0", "-h", f"ldap://127.0.0.1:{port}", "-f", configured(folder, "slapd.conf", text)]


def mosquitto(path: str, folder: Path, port: int) -> list[str]:
    text = f"listener {port} 127.0.0.1\nallow_anonymous true\n"
    return [path, "-c", configured(folder, "mosquitto.conf", text)]


def unbound(path: str, folder: Path, port: int) -> list[str]:
    text = f"""
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: "{folder}/pid"
"""
    return [path, "-d", "-c", configured(folder, "unbound.conf", text)]


def mariadb(path: str, folder: Path, port: int) -> list[str]:
    data = folder / "data"
    install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db", "--user=nobody"]
    subprocess.run(install, check=True, capture_output=True)
    options = [f"--datadir={data}", f"--socket={folder}/socket", f"--pid-file={folder}/pid", f"--port={port}"]
    return [path, "--no-defaults", *options, "--bind-address=127.0.0.1", "--user=nobody"]


def xrdp(path: str, folder: Path, port: int) -> list[str]:
    text = f"""
[Globals]
port=tcp://127.0.0.1:{port}
security_layer=negotiate
certificate={folder}/cert.pem
key_file={folder}/key.pem
[Logging]
LogFile={folder}/xrdp.log
[Xorg]
name=Xorg
lib=libxup.so
"""
    return [path, "--nodaemon", "-c", configured(folder, "xrdp.ini", text)]


def vnc(path: str, folder: Path, port: int) -> list[str]:
    words = ["-rfbport", str(port), "-SecurityTypes", "None", "-localhost", "-nolisten", "unix"]
    return [path, f":{port}", *words]


def nginx(path: str, folder: Path, port: int) -> list[str]:
    text = f"""
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    location / {{ return 200 "<title>zoo</title>"; }}
  }}
}}
"""
    return [path, "-p", str(folder), "-c", configured(folder, "nginx.conf", text)]


# Whom to run, what it must be called, what its product must look like, what else must be known of it.
SERVERS: list[tuple[str, Server, str, str, dict[str, Any]]] = [
    ("OpenSSH", partial(server, "sshd", sshd, as_root=True), "ssh", r"OpenSSH_\d", {"host_keys": ["ssh-ed25519"]}),
    ("Exim", partial(server, "exim4", exim, as_root=True), "smtp", r"Exim \d+\.\d+$", {"starttls": True}),
    ("IMAP", partial(server, "dovecot", imap, as_root=True), "imap", "Dovecot$", {"starttls": True}),
    ("POP3", partial(server, "dovecot", pop3, as_root=True), "pop3", "Dovecot$", {"starttls": True}),
    ("vsftpd", partial(server, "vsftpd", vsftpd, as_root=True), "ftp", r"vsFTPd \d", {"code": 220}),
    ("Samba", partial(server, "smbd", samba, as_root=True), "smb", "SMB", {"dialect": "3.0.2", "signing": "enabled"}),
    ("OpenLDAP", partial(server, "slapd", slapd), "ldap", "LDAP", {"contexts": ["dc=zoo,dc=test"], "versions": ["3"]}),
    ("Mosquitto", partial(server, "mosquitto", mosquitto), "mqtt", "MQTT", {"says": "accepted"}),
    ("Unbound", partial(server, "unbound", unbound), "dns", r"unbound \d", {"code": "NOERROR"}),
    ("MariaDB", partial(server, "mariadbd", mariadb, as_root=True), "mysql", r"MariaDB (?!5\.5\.5)\d+\.\d", {}),
    ("xrdp", partial(server, "xrdp", xrdp), "rdp", "RDP", {"security": "TLS"}),
    ("VNC", partial(server, "Xvnc", vnc), "vnc", "VNC", {"security": ["none"]}),
    ("nginx", partial(server, "nginx", nginx), "https", r"nginx/\d", {"status": 200, "title": "zoo"}),
    ("Redis", redis_server, "redis", r"Redis \d", {"mode": "standalone"}),
    ("memcached", memcached_server, "memcached", r"memcached \d", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("_", "run", "name", "product", "info"), SERVERS, ids=[row[0] for row in SERVERS])
def test_a_real_server_is_named(_: str, run: Server, name: str, product: str, info: dict[str, Any]) -> None:
    """Slow: servers take their time to start, and a port that says nothing of its protocol is asked for all."""
    with run() as port:
        door = Door("127.0.0.1", AF_INET, ("127.0.0.1", port), 0.001)
        for _attempt in range(3):  # who has to wait a second for the CPU says nothing in time
            found = Examiner(Registry()).examine(door)
            if found.name == name and (found.tls or not info.get("starttls")):
                break
    assert found.name == name, found
    assert re.match(product, found.product), found.product
    assert {key: (found.info or {}).get(key) for key in info} == info
    if info.get("starttls"):
        assert (found.tls or {}).get("certificate", {}).get("names") == ["zoo.test"], found.tls
