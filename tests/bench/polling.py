"""Parts `polls` and `fetch`: reading over plain HTTP with no news, and everything of a reader from nothing."""

import http.client
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

import orjson
import psycopg

from tests.bench import cores, generator, product, scripts
from tests.bench.figures import WrongError
from tests.bench.product import Product
from tests.bench.relays import running
from tests.bench.result import Baseline, Busy, Found, Promise, Result
from tests.bench.scale import Scale
from tests.bench.writing import fresh

POLLERS, READERS = 64, 64
ROWS = 10_000
_PAGE = 1_000
_FETCHES = 7
_CHANGES = "/api/v1/changes"
_FILL = """
    INSERT INTO reading_progress (owner, publication_id, percentage, position, position_kind)
    SELECT %s, 'book-' || b, 0.25, '/body/DocFragment[12]/body/p[48]/text().112', 'xpointer'
    FROM generate_series(1, %s) AS b
"""
_SELECT = "SELECT to_json(t)::text FROM reading_progress t WHERE owner = %s"


def _asked(connection: http.client.HTTPConnection, path: str, token: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    return answer, answer.read()


def _poll_line(server: Product, owner: str) -> str:
    """A request whose answer has to be that nothing changed."""
    token = server.token(owner)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    answer, _ = _asked(connection, _CHANGES, token)
    connection.close()
    cursor = answer.headers["Sync-Cursor"]
    return f'{_CHANGES}?{urlencode({"cursor": cursor})}\tBearer {token}\t"{cursor}"'


def _polls(pid: int, port: int, lines: list[str], scale: Scale) -> list[tuple[float, Busy]]:
    meter, found = cores.Meter(pid), []
    options: dict[str, Any] = {"port": port, "turns": scale.turns + 1, "seconds": scale.seconds}
    with (
        scripts.file(lines) as requests,
        generator.running("polls", core=running.GENERATOR_CORE, requests=requests, **options) as load,
    ):
        for line in load.lines():
            if "begin" in line:
                meter.begin()
            else:
                found.append((line["answers"] / line["seconds"], meter.end(line["cpu_s"])))
    return found[1:]


def polled(scale: Scale) -> Found:
    """Polls a second of one core that find nothing new, over kept connections."""
    with product.running(core=running.CORE) as server:
        own = [_poll_line(server, owner) for owner in fresh(READERS)]
        ran = _polls(server.pid, server.port, [own[n % READERS] for n in range(POLLERS)], scale)
    with running.named()[running.PLAIN]() as plain:
        bare = sorted(rate for rate, _ in _polls(plain.pid, plain.port, ["/\t-\t-"] * POLLERS, scale))
    return Found(
        [
            Result(
                "polls",
                f"no news, {POLLERS} connections",
                "requests/s",
                [rate for rate, _ in ran],
                [Baseline("Starlette, a constant 304", bare[len(bare) // 2])],
                [Promise("least", 3_000)],
                ran[len(ran) // 2][1],
            )
        ]
    )


# -- the first fetch ------------------------------------------------------------------------------------------------


def _over_http(server: Product, token: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    rows, cursor, more, begun = 0, None, True, time.perf_counter()
    while more:
        asked = {"limit": _PAGE, **({"cursor": cursor} if cursor else {})}
        _, body = _asked(connection, f"{_CHANGES}?{urlencode(asked)}", token)
        page = orjson.loads(body)
        rows, cursor, more = rows + len(page["rows"]), page["cursor"], page["more"]
    took = time.perf_counter() - begun
    connection.close()
    if rows != ROWS:
        raise WrongError(f"{rows} rows were fetched of {ROWS}")
    return 1000 * took


def _over_socket(server: Product, token: str) -> float:
    with scripts.file([scripts.device(token, 0, "phone")]) as script:
        line = generator.once("arrive", scripts=script, port=server.port, product=1)
    if line["rows"] != ROWS:
        raise WrongError(f"{line['rows']} rows were fetched of {ROWS}")
    return float(line["ready"]["most_ms"])


def _by_sql(owner_url: str, owner: str) -> float:
    with psycopg.connect(owner_url) as connection:
        begun = time.perf_counter()
        found = len(connection.execute(_SELECT, [owner]).fetchall())
        took = time.perf_counter() - begun
    if found != ROWS:
        raise WrongError("not all rows are there")
    return 1000 * took


def fetched(scale: Scale) -> Found:
    """Milliseconds until a device that begins from nothing holds 10,000 rows."""
    with ExitStack() as stack:
        server = stack.enter_context(product.running())
        with psycopg.connect(server.owner_url, autocommit=True) as connection:
            connection.execute(_FILL, ["user:many", ROWS])
            connection.execute("VACUUM ANALYZE")
        token = server.token("many")
        turns = range(_FETCHES if scale.full else scale.turns)
        _over_socket(server, token)
        meter = server.meter
        meter.begin()
        socket = [_over_socket(server, token) for _ in turns]
        busy = meter.end()
        plain = [_over_http(server, token) for _ in turns]
        bare = sorted(_by_sql(server.owner_url, "user:many") for _ in turns)
    baselines = [Baseline("the rows as JSON by SQL", bare[len(bare) // 2])]
    promises = [Promise("most", 300.0)]
    return Found(
        [
            Result("fetch", f"{ROWS:,} rows, from connect to ready", "ms", socket, baselines, promises, busy),
            Result("fetch", f"{ROWS:,} rows, over HTTP in pages of {_PAGE:,}", "ms", plain, baselines, promises),
        ]
    )
